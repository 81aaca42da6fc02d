"""Routing policies beside each other over simulated replicas: `python -m bench.routing [--quick]`.

`engine.py` is a replica, `workloads.py` what is asked of it, `simulate.py` gateways that choose with the very code that
serves, `cells.py` what is compared, `cost.py` what a choice takes.
"""
