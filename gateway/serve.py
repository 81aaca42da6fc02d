"""`twicetold serve`: one process, one event loop, one socket."""

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count

from gateway.app import ERRORS, create_app
from gateway.body import Curfew
from gateway.edge.descriptors import raise_descriptors
from gateway.edge.server import Server, config_of
from gateway.engines import Unavailable
from gateway.heap import collect, give_back, settle, spare_memory
from gateway.services import Services, build
from gateway.settings import Settings, SettingsError, tell_libraries
from gateway.tls import Certificates

BACKLOG = 2048
LOOK_S = 1.0  # between two looks whether everything is loaded
GIVE_BACK_S = 60.0
COLLECT_EVERY = 5  # of these
SWITCH_S = 0.001  # a thread that computes in Python lets the event loop go on after so long; Python's own is 5 ms


def serve(settings: Settings) -> int:
    """Run until told to stop. Returns the exit status."""
    tell_libraries()
    raise_descriptors()
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        print(f"twicetold: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        certificates = Certificates(settings.tls) if settings.tls.cert else None
        services = build(settings)
    except (SettingsError, Unavailable, OSError, ValueError) as error:
        print(f"twicetold: {error}", file=sys.stderr)
        listener.close()
        return 1
    sys.setswitchinterval(SWITCH_S)
    spare_memory()
    curfew = Curfew()
    app, edge = create_app(services, partial(_opened, services, certificates), curfew), services.edge
    context = None if certificates is None else certificates.context
    config = config_of(app, edge.rules, edge.counts, ERRORS, settings.drain_s, context, services.express)
    server = Server(config, curfew, settings.drain_s)
    scheme = "http" if context is None else "https"
    print(f"Twicetold serves on {scheme}://{_address(listener)}", flush=True)
    server.run(sockets=[listener])
    return 0 if server.started else 1


@asynccontextmanager
async def _opened(services: Services, certificates: Certificates | None) -> AsyncIterator[None]:
    """Everything that is held open while it serves."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(services.opened())
        if certificates is not None:
            await stack.enter_async_context(certificates.followed())
        gc.freeze()  # a collection before the door opens would hold up everybody
        tidying = asyncio.create_task(_tidy(services))
        stack.callback(tidying.cancel)
        yield


async def _tidy(services: Services) -> None:
    """Settle the heap when the last slow part is loaded; then give back what is free, and seldom collect the old."""
    while services.is_loading:  # noqa: ASYNC110 - nobody says when
        await asyncio.sleep(LOOK_S)
    await asyncio.to_thread(settle)
    for minute in count(1):
        await asyncio.sleep(GIVE_BACK_S)
        if minute % COLLECT_EVERY == 0:
            await asyncio.to_thread(collect)
        await asyncio.to_thread(give_back)


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
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
