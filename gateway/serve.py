"""`twicetold serve`: one process, one event loop, one socket."""

import asyncio
import math
import socket
import sys

import uvicorn

from gateway.app import create_app
from gateway.body import Curfew
from gateway.engines import Unavailable
from gateway.services import build
from gateway.settings import Settings

LAST_WORDS_S = 2  # from the curfew to the cutting of connections
BACKLOG = 2048
SWITCH_S = 0.001  # a thread that computes in Python lets the event loop go on after so long; Python's own is 5 ms


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
    sys.setswitchinterval(SWITCH_S)
    curfew = Curfew()
    config = uvicorn.Config(
        create_app(services, services.opened, curfew),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=math.ceil(settings.drain_s) + LAST_WORDS_S,
    )
    server = _Server(config, curfew, settings.drain_s)
    print(f"Twicetold serves on {_address(listener)}", flush=True)
    server.run(sockets=[listener])
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """Tells whoever still waits some time after the signal that the server stops, before the connection is cut."""

    def __init__(self, config: uvicorn.Config, curfew: Curfew, drain_s: float) -> None:
        super().__init__(config)
        self._curfew = curfew
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._curfew.draw_near()
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._curfew.come)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


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
