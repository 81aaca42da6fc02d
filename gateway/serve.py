"""`twicetold serve`: one process, one event loop, one socket."""

import socket
import sys

from gateway.app import ERRORS, create_app
from gateway.body import Curfew
from gateway.edge.descriptors import raise_descriptors
from gateway.edge.server import Server, config_of
from gateway.engines import Unavailable
from gateway.services import build
from gateway.settings import Settings

BACKLOG = 2048
SWITCH_S = 0.001  # a thread that computes in Python lets the event loop go on after so long; Python's own is 5 ms


def serve(settings: Settings) -> int:
    """Run until told to stop. Returns the exit status."""
    raise_descriptors()
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        print(f"twicetold: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        services = build(settings)
    except (Unavailable, OSError, ValueError) as error:
        print(f"twicetold: {error}", file=sys.stderr)
        listener.close()
        return 1
    sys.setswitchinterval(SWITCH_S)
    curfew = Curfew()
    app, edge = create_app(services, services.opened, curfew), services.edge
    server = Server(config_of(app, edge.rules, edge.counts, ERRORS, settings.drain_s), curfew, settings.drain_s)
    print(f"Twicetold serves on {_address(listener)}", flush=True)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # from now on callers wait for the start instead of being refused
    except OSError:
        listener.close()
        raise
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
