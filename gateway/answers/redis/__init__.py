"""Answers in a Redis that any number of gateways share: `store.py` is the file to read, `keys.py` the layout."""
