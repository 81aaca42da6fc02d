"""One connection under the server, with clocks: who is slow in asking, in sending, or in reading, is cut off.

Clocks are looked at once a second for all connections (`look`), so a request pays for a few numbers and no timer.

    made . . head . . . | . . body . . . | . . answer . . | . . idle . .
         head_s, bytes     body_s, bytes    write_s          idle_s (the server's own)

It is uvicorn's protocol with httptools; what it is given beside that: nothing is written into an answer that has
begun, fields behind a chunked body are no headers, and only so many requests may be sent ahead of their answers.

Between two requests, with nothing of the next one in the parser yet, the express road is asked first: what it says is
written, and the parser never sees that request. Bytes that may be the beginning of one it knows are held back, until
the rest comes or the next look; whatever is none of its goes to the parser as it came.

Who asks for another protocol is answered in this one, as if it had not: the parser leaves such a request behind its
head, without its body and without what follows, so a new one reads it again without the line that asks.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from httptools import HttpRequestParser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.edge.gathering import Gathering
from gateway.edge.rules import EdgeCounts, EdgeRules, is_late
from gateway.edge.words import Say, on_the_wire, send_whole, shape_of
from gateway.errors import GatewayError, HeadTooLarge, InvalidRequest, Overloaded, TooSlow
from gateway.express.reading import MOST_BYTES, Header
from gateway.express.table import Wait
from gateway.express.wire import EXTENSION, Wire

log = logging.getLogger(__name__)

MAX_URL_BYTES = 8 * 2**10
MAX_HEADERS = 128
MAX_AHEAD = 16  # requests sent before the answer of the one under way
STANDING_ROOM = 64  # connections beyond the bound that are told so; further ones are closed


class Road(Protocol):
    """Answers requests by their bytes (`gateway.express`)."""

    def answer(self, raw: bytes, ours: Sequence[Header]) -> bytes | Wait | None: ...


class Connection(HttpToolsProtocol):
    """One connection of a caller. `rules`, `counts`, `shapes` and `road` are the server's."""

    road: Road | None = None
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
        self._is_between = True  # nothing of a request is in the parser
        self._held = bytearray()  # what has come in of one that the express road may know
        self._wanted = 0  # bytes of it
        self._wire: Wire | None = None  # of the request that is in the parser
        self._piece = b""  # what the parser is given now
        self._is_upgrade = False  # the parser leaves this request behind its head
        self._rests_s: float | None = None  # since when it is idle after an answer of the express road; looked at
        self._is_fresh = False  # whether that is since the last look

    # -- what the transport says ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._gathering = Gathering(transport, self.loop)
        super().connection_made(self._gathering)
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
        if self._is_between:
            if self._held:
                self._held += data
                if len(self._held) < self._wanted:
                    return
                data = self._unheld()
            if self.road is not None and self._is_expressed(self.road, data):
                return
            self._wire = None if self.road is None else Wire(data if len(data) <= MOST_BYTES else b"")
        elif self._wire is not None:
            self._wire.add(data)
        self._parse(data)

    def _is_expressed(self, road: Road, data: bytes) -> bool:
        """Whether the express road answers, or waits for the rest."""
        under_way = self._under_way
        if (
            (under_way is not None and not under_way.response_complete)
            or self.pipeline
            or self.flow.write_paused
            or self._is_surplus
            or self.transport.is_closing()
        ):
            return False
        try:
            said = road.answer(data, self.server_state.default_headers)
        except Exception:  # our bug: nobody else would tell the caller, and there is a road that needs none of it
            log.exception("the express road failed, and is left alone by this connection")
            self.road = said = None
        if said is None:
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if isinstance(said, Wait):
            self._held, self._wanted = bytearray(data), said.num_bytes
            self._began_s = self.loop.time() if self._began_s is None else self._began_s
            return True
        self._began_s, self._is_fresh = None, True
        self.server_state.total_requests += 1
        self._gathering.write_now(said)
        return True

    def _unheld(self) -> bytes:
        held, self._held = self._held, bytearray()
        return bytes(held)

    def _parse(self, data: bytes) -> None:
        self._is_fresh, self._rests_s = False, None
        if self._is_in_head:
            if self._began_s is None:
                self._began_s = self.loop.time()
            self._head_bytes += len(data)
        self._piece = data
        super().data_received(data)
        self._piece = b""
        if self._is_in_head and self._head_bytes > self.rules.head_bytes > 0:
            self.counts.refused["head"] += 1
            self._say_and_close(HeadTooLarge(f"The headers are over the limit of {self.rules.head_bytes} bytes."))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused_s = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused_s = None

    def on_response_complete(self) -> None:
        self._gathering.flush()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    # -- what the parser says ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._is_between = True, False
        if self._wire is not None:
            self.scope["extensions"] = {EXTENSION: self._wire}  # type: ignore[dict-item]  # uvicorn knows its own
        if self._began_s is None:  # behind another in one piece
            self._began_s = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what comes behind a body is no header of the request, and may be without end
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._is_upgrade = True
            return
        size, self._head_bytes, self._is_in_head = self._head_bytes, 0, False
        self._began_s, self._body_bytes = self.loop.time(), 0
        refusal = self._refusal(size)
        self.app = self._app if refusal is None else partial(_refuse, refusal, self.shapes)
        super().on_headers_complete()
        if self.parser.should_upgrade():  # CONNECT: what follows is none of ours
            self.cycle.keep_alive = False
        if len(self.pipeline) > MAX_AHEAD:
            self._cut("pipeline")
            raise RuntimeError("too many requests ahead of their answers")  # the parser stops here

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return  # it is read again
        super().on_message_complete()
        self._is_in_head, self._is_between, self._began_s = True, True, None
        if self._wire is not None:
            self._wire.is_whole = self.cycle.keep_alive
            self._wire = None

    def send_400_response(self, msg: str) -> None:
        self._say_and_close(InvalidRequest(msg))

    def _unsupported_upgrade_warning(self) -> None:
        """Read again, without the line that asks, what asks for another protocol. No line in the log: a caller's."""
        if not self._is_upgrade:
            return
        self._is_upgrade, self._wire = False, None
        stopped = sys.exception()
        behind = self._piece[stopped.args[0] :] if stopped is not None else b""
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self._piece = b"\r\n".join([*lines, b"", behind])
        super().data_received(self._piece)  # one in another is of the same piece: no more than may be sent ahead

    # -- bounds --------------------------------------------------------------------------------------------------

    def look(self, now_s: float) -> None:
        """Cut it off if it has been slow for too long."""
        if self._held:
            self._wire = None
            self._parse(self._unheld())  # the rest is slow in coming: from now on it is a request like any other
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
        else:
            self._rest(now_s)

    def _rest(self, now_s: float) -> None:
        """Close it when it is idle for too long after an answer of the express road, which sets no timer."""
        if self._is_fresh:
            self._is_fresh, self._rests_s = False, now_s
        elif self._rests_s is not None and self._is_between and 0 < self.rules.idle_s < now_s - self._rests_s:
            self.transport.close()

    def shutdown(self) -> None:
        if self._held:  # uvicorn has it answered before the connection ends
            self._wire = None
            self._parse(self._unheld())
        super().shutdown()

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


def connections_of(
    rules: EdgeRules, counts: EdgeCounts, shapes: Mapping[str, Say], road: Road | None = None
) -> type[Connection]:
    """The protocol of a server with these bounds."""
    own = {"rules": rules, "counts": counts, "shapes": shapes, "road": road}
    return type("OurConnection", (Connection,), own)


async def watch(connections: Iterable[Any], every_s: float) -> None:
    """Look at all of them, again and again."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every_s)
        now_s = loop.time()
        for one in list(connections):
            if isinstance(one, Connection):
                one.look(now_s)
