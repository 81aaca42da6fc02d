"""One connection under the server, with clocks: who is slow in asking, in sending, or in reading, is cut off.

Clocks are looked at once a second for all connections (`look`), so a request pays for a few numbers and no timer.

    made . . head . . . | . . body . . . | . . answer . . | . . idle . .
         head_s, bytes     body_s, bytes    write_s          idle_s (the server's own)

It is uvicorn's protocol with httptools; what it is given beside that: nothing is written into an answer that has
begun, fields behind a chunked body are no headers, and only so many requests may be sent ahead of their answers.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.edge.rules import EdgeCounts, EdgeRules, is_late
from gateway.edge.words import Say, on_the_wire, send_whole, shape_of
from gateway.errors import GatewayError, HeadTooLarge, InvalidRequest, Overloaded, TooSlow

MAX_URL_BYTES = 8 * 2**10
MAX_HEADERS = 128
MAX_AHEAD = 16  # requests sent before the answer of the one under way
STANDING_ROOM = 64  # connections beyond the bound that are told so; further ones are closed


class Connection(HttpToolsProtocol):
    """One connection of a caller. `rules`, `counts` and `shapes` are the server's."""

    rules = EdgeRules()
    counts = EdgeCounts()
    shapes: Mapping[str, Say] = {}

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._app = self.app
        self._is_in_head = True
        self._head_bytes = 0  # of the one that is coming in
        self._body_bytes = 0
        self._began_s: float | None = None  # the head that is coming in, or else the body
        self._paused_s: float | None = None  # since when it does not read
        self._closing_s: float | None = None
        self._is_surplus = False
        self._under_way: RequestResponseCycle | None = None  # what is being answered

    # -- what the transport says ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.counts.connections = num = len(self.connections)
        self._began_s = self.loop.time()  # who connects and says nothing is slow in asking
        if 0 < self.rules.connections < num:
            self.counts.refused["connections"] += 1
            self._is_surplus = True
            if num > self.rules.connections + STANDING_ROOM:
                self._cut("connections", count=False)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.counts.connections = len(self.connections)
        self.pipeline.clear()  # nobody reads those answers
        if self._under_way is not None and not self._under_way.response_complete:
            self._under_way.disconnected = True  # uvicorn tells the newest alone, which may still wait behind this one
            self._under_way.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            if self._began_s is None:
                self._began_s = self.loop.time()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > self.rules.head_bytes > 0:
            self.counts.refused["head"] += 1
            self._say_and_close(HeadTooLarge(f"The headers are over the limit of {self.rules.head_bytes} bytes."))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused_s = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused_s = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    # -- what the parser says ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        if self._began_s is None:  # behind another in one piece
            self._began_s = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what comes behind a body is no header of the request, and may be without end
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size, self._head_bytes, self._is_in_head = self._head_bytes, 0, False
        self._began_s, self._body_bytes = self.loop.time(), 0
        refusal = self._refusal(size)
        self.app = self._app if refusal is None else partial(_refuse, refusal, self.shapes)
        super().on_headers_complete()
        if len(self.pipeline) > MAX_AHEAD:
            self._cut("pipeline")
            raise RuntimeError("too many requests ahead of their answers")  # the parser stops here

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_head, self._began_s = True, None

    def send_400_response(self, msg: str) -> None:
        self._say_and_close(InvalidRequest(msg))

    def _unsupported_upgrade_warning(self) -> None:
        """Who asks for another protocol gets an answer in this one; a line in the log for each would be a caller's."""

    # -- bounds --------------------------------------------------------------------------------------------------

    def look(self, now_s: float) -> None:
        """Cut it off if it has been slow for too long."""
        rules, waited_s = self.rules, 0.0 if self._began_s is None else now_s - self._began_s
        if self._paused_s is not None and 0 < rules.write_s < now_s - self._paused_s:
            self._cut("slow_reader")
        elif self.transport.is_closing():
            self._closing_s = now_s if self._closing_s is None else self._closing_s
            if 0 < rules.write_s < now_s - self._closing_s:
                self._cut("slow_reader")
        elif self._is_in_head and self._is_at_rest and 0 < rules.head_s < waited_s:
            self.counts.cut["slow_head"] += 1
            self._say_and_close(TooSlow("The headers of a request did not come in time."))
        elif not self._is_in_head and not self.flow.read_paused and is_late(rules, waited_s, self._body_bytes):
            self.counts.cut["slow_body"] += 1
            self._say_and_close(TooSlow("The body of the request did not come in time."))

    @property
    def _is_at_rest(self) -> bool:
        """Whether no answer is under way."""
        return self._under_way is None or self._under_way.response_complete

    def _refusal(self, head_bytes: int) -> GatewayError | None:
        """What is wrong with a request whose headers are whole."""
        if self._is_surplus:
            return Overloaded("The server has as many connections as it can hold; try again soon.")
        if len(self.url) > MAX_URL_BYTES:
            self.counts.refused["url"] += 1
            return HeadTooLarge(f"The address is over the limit of {MAX_URL_BYTES} bytes.", status=414)
        if len(self.headers) > MAX_HEADERS:
            self.counts.refused["head"] += 1
            return HeadTooLarge(f"There are more than {MAX_HEADERS} headers.")
        if head_bytes > self.rules.head_bytes > 0 and self._size > self.rules.head_bytes:
            self.counts.refused["head"] += 1
            return HeadTooLarge(f"The headers are over the limit of {self.rules.head_bytes} bytes.")
        return None

    @property
    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _say_and_close(self, error: GatewayError) -> None:
        """Answer and close; into an answer that has begun nothing is written."""
        if self.transport.is_closing():
            return
        under_way = self._under_way
        if self._is_at_rest or (under_way is self.cycle and under_way is not None and not under_way.response_started):
            path = "" if self.scope is None else str(self.scope.get("path", ""))
            self.transport.write(on_the_wire(error, shape_of(path, self.shapes)))
        self.transport.close()

    def _cut(self, reason: str, *, count: bool = True) -> None:
        if count:
            self.counts.cut[reason] += 1
        self.transport.abort()


async def _refuse(error: GatewayError, shapes: Mapping[str, Say], scope: Any, _: Any, send: Any) -> None:
    """The application of a request that is not what it may be."""
    await send_whole(send, error, shape_of(scope["path"], shapes), is_last=True)


def connections_of(rules: EdgeRules, counts: EdgeCounts, shapes: Mapping[str, Say]) -> type[Connection]:
    """The protocol of a server with these bounds."""
    return type("OurConnection", (Connection,), {"rules": rules, "counts": counts, "shapes": shapes})


async def watch(connections: Iterable[Any], every_s: float) -> None:
    """Look at all of them, again and again."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every_s)
        now_s = loop.time()
        for one in list(connections):
            if isinstance(one, Connection):
                one.look(now_s)
