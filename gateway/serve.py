"""`twicetold serve`: one process, one event loop, one socket."""

import socket
import sys

import uvicorn

from gateway.app import create_app
from gateway.engines import Unavailable
from gateway.services import build
from gateway.settings import Settings

SHUTDOWN_S = 10
BACKLOG = 2048


def serve(settings: Settings) -> int:
    """Run until told to stop. Returns the exit status."""
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
    config = uvicorn.Config(
        create_app(services, services.opened),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
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
