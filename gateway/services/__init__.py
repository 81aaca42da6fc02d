"""The composition root: settings in, wired objects out. The only place that names concrete classes.

build.py       everything, in the order a request meets it
answers.py     the answer store
rules.py       what the operator allows, route by route
semantic.py    the semantic tier
backends.py    the upstream and local engines
routing.py     the router over them and over [[backends]]
shared.py      the Redis that several gateways share
running.py     what `build` returns: opened and closed by one exit stack, asked how it is
"""

from gateway.services.build import build
from gateway.services.running import Services

__all__ = ["Services", "build"]
