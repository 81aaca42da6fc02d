"""The server under the application: our connections, looked at while it runs, and a drain that has an end."""

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import uvicorn

from gateway.body import Curfew
from gateway.edge.rules import EdgeCounts, EdgeRules
from gateway.edge.words import Say

log = logging.getLogger("uvicorn.error")  # where uvicorn says it

LAST_WORDS_S = 2  # from the curfew to the cutting of connections
FOR_EVER_S = 10**9


def protocol_of(rules: EdgeRules, counts: EdgeCounts, shapes: Mapping[str, Say], road: Any = None) -> Any:
    """What uvicorn is to speak HTTP with: ours where httptools is there, else its own, without our clocks and without
    an express road."""
    try:
        from gateway.edge.connections import connections_of
    except ImportError:  # no wheel of httptools for this system
        return "auto"
    return connections_of(rules, counts, shapes, road)


def config_of(
    app: Any,
    rules: EdgeRules,
    counts: EdgeCounts,
    shapes: Mapping[str, Say],
    drain_s: float,
    context: ssl.SSLContext | None = None,
    road: Any = None,
) -> Any:
    """The configuration of a server with these bounds; with a context it speaks TLS. `road`: `connections.Road`."""
    return uvicorn.Config(
        app,
        http=protocol_of(rules, counts, shapes, road),
        ws="none",  # nothing here speaks it, and it would be beside all bounds
        log_config=None,
        access_log=False,
        lifespan="on",
        ssl_context_factory=None if context is None else lambda *_: context,
        timeout_keep_alive=math.ceil(rules.idle_s) or FOR_EVER_S,
        timeout_graceful_shutdown=math.ceil(drain_s) + LAST_WORDS_S,
    )


class CutAtTheEnd(logging.Filter):
    """Counts what uvicorn says of answers that the curfew cuts off, of each one as an error: it is what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def filter(self, record: logging.LogRecord) -> bool:
        said, error = str(record.msg), record.exc_info[1] if record.exc_info else None
        is_cut = said.startswith("ASGI callable returned without") or isinstance(error, asyncio.CancelledError)
        self.answers += is_cut
        return not is_cut and not said.startswith("Cancel %s running task")


class Server(uvicorn.Server):
    """Looks at its connections, and tells whoever still waits some time after the signal that the server stops."""

    def __init__(self, config: uvicorn.Config, curfew: Curfew, drain_s: float, *, look_every_s: float = 1.0) -> None:
        super().__init__(config)
        self._curfew = curfew
        self._drain_s = drain_s
        self._look_every_s = look_every_s
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if isinstance(self.config.http, type):
            from gateway.edge.connections import watch

            self._watch = asyncio.create_task(watch(self.server_state.connections, self._look_every_s))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._curfew.draw_near()
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._curfew.come)
        cut = CutAtTheEnd()
        log.addFilter(cut)
        try:
            await super().shutdown(sockets)
        finally:
            log.removeFilter(cut)
            timer.cancel()
            if cut.answers:
                log.warning("answers cut off at the end, whose callers did not read on: %d", cut.answers)
            if self._watch is not None:
                self._watch.cancel()
