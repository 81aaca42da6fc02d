"""The edge: how much of callers' doing is let in, and for how long. Outside of routes, tenants and shapes.

connections   sockets and their clocks: a protocol under the server, looked at once a second
admission     requests under way and the bytes of their bodies: the outermost ASGI layer
memory        the process's own, against what it may have: lets go of caches first, then takes no new generation
"""
