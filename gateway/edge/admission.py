"""So many requests under way, and so many bytes of bodies: the outermost ASGI layer. Whoever is beyond hears 503.

Probes, metrics, the dashboard and the admin API are let in: an operator looks when there is too much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.edge.memory import MemoryWatch
from gateway.edge.rules import EdgeCounts, EdgeRules
from gateway.edge.words import Say, send_whole, shape_of
from gateway.errors import Overloaded

RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets in what there is room for."""

    app: ASGIApp
    rules: EdgeRules
    counts: EdgeCounts
    shapes: Mapping[str, Say] = field(default_factory=dict)
    memory: MemoryWatch = field(default_factory=MemoryWatch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        counts = self.counts
        reason = self._full()
        if reason is not None:
            counts.refused[reason] += 1
            error = Overloaded("The server has as much to do as it can; try again soon.", RETRY_AFTER_S)
            await send_whole(send, error, shape_of(scope["path"], self.shapes))
            return
        counts.requests += 1
        counts.most_requests = max(counts.most_requests, counts.requests)
        held = 0

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            if size := len(message.get("body", b"")):
                held += size
                counts.body_bytes += size
                if counts.body_bytes > self.rules.body_bytes > 0:
                    counts.refused["bodies"] += 1
                    raise Overloaded("The server holds as many bodies as it can; try again soon.", RETRY_AFTER_S)
            return message

        try:
            await self.app(scope, receive_counted, send)
        finally:
            counts.requests -= 1
            counts.body_bytes -= held

    def _full(self) -> str | None:
        if 0 < self.rules.requests <= self.counts.requests:
            return "requests"
        return "memory" if self.memory.is_shut else None
