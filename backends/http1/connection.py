"""One connection to a server, and the exchange on it.

    idle --send--> asked --head--> answering --end--> idle          (kept open: is_reusable)
                     |                |
                     +--- left, lost, late, or no HTTP: over for good

The transport calls in, whoever asks waits for one future at a time; what came meanwhile lies in `_chunks`, and reading
from the socket pauses while that is more than `MAX_AHEAD`. A deadline costs no timer of its own: one alarm stays armed
over many waits and is moved when it rings too early.
"""

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_AHEAD = 256 * 2**10  # bytes of a body that nobody has read yet
MAX_SILENT = 256 * 2**10  # bytes in which no byte of a body came: heads, trailers, what stands around chunks
AT_ONCE_S = 0.1  # a server that had closed says so within a round trip
EARLY_S = 0.001  # uvloop rounds to milliseconds, and may ring before the time
_BODILESS = (204, 304)


class Dropped(Exception):
    """The server closed the connection, or lost it, before its reply was whole."""


class NotHTTP(Exception):
    """What the server sends is no HTTP."""


class Connection(asyncio.Protocol):
    """Belongs to one event loop and to one exchange at a time. `on_lost` is told once, when it is over."""

    __slots__ = (
        "_alarm", "_alarm_s", "_buffered", "_chunks", "_deadline_s", "_failure", "_has_length", "_is_paused",
        "_is_whole", "_loop", "_lost_s", "_on_lost", "_parser", "_poll", "_sent_s", "_silent", "_transport", "_waiter",
        "has_answered", "has_head", "headers", "idle_until_s", "is_lost", "is_reusable", "status", "was_asked",
        "was_idle",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: "Callable[[Connection], None]") -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_s = 0.0
        self._sent_s = self._lost_s = 0.0
        self._poll = select.poll()  # of its own socket alone; `select.select` ends at 1,024 descriptors
        self.was_asked = False
        self.is_lost = False
        self.was_idle = False  # the pool's: it has waited for this exchange, and may have been closed meanwhile
        self.idle_until_s = 0.0  # the pool's
        self._parser = HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_answered = False  # a byte of the reply came
        self.has_head = False
        self.is_reusable = False  # once the reply is whole: another request may follow
        self._is_whole = False
        self._has_length = False
        self._failure: Exception | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._silent = 0
        self._is_paused = False

    # -- an exchange ---------------------------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether the reply is here to its end, and read."""
        return self._is_whole and not self._chunks

    @property
    def is_sent(self) -> bool:
        """Whether the request has left: a server may answer before it has read all of it."""
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    @property
    def was_lost_at_once(self) -> bool:
        """Lost as the request was sent, with no byte of a reply: then the server had closed before it read that."""
        return self.is_lost and not self.has_answered and self._lost_s - self._sent_s < AT_ONCE_S

    def has_unread(self) -> bool:
        """Whether its socket holds bytes, or an end, of which the loop has not told yet. Costs a system call."""
        return self.is_lost or bool(self._poll.poll(0))

    def send(self, request: bytes) -> None:
        """Begin an exchange: head and body, in one write."""
        if self.was_asked:
            self._begin()
        self.was_asked = True
        self._sent_s = self._loop.time()
        if self.is_lost or self._transport is None:
            self._failure = Dropped()
        else:
            self._transport.write(request)

    async def answered(self, deadline_s: float) -> None:
        """Wait for status and headers. Raises `Dropped`, `NotHTTP`, `TimeoutError`."""
        while not self.has_head:
            await self._more(deadline_s)

    async def read(self, deadline_s: float) -> bytes | None:
        """What came of the body, or None at its end. Raises `Dropped`, `NotHTTP`, `TimeoutError`."""
        while not self._chunks:
            if self._is_whole:
                return None
            await self._more(deadline_s)
        chunks = self._chunks
        said = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        if self._is_paused and self._transport is not None and not self.is_lost:
            self._is_paused = False
            self._transport.resume_reading()
        return said

    def cut(self) -> None:
        """Close it at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    async def _more(self, deadline_s: float) -> None:
        """Wait until something came. Whoever is cancelled here has left the exchange, and cuts it."""
        if self._failure is not None:
            raise self._failure
        self._deadline_s = deadline_s
        if self._alarm is None or deadline_s < self._alarm_s:
            self._set_alarm(deadline_s)
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _set_alarm(self, at_s: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_s = at_s
        self._alarm = self._loop.call_at(at_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline_s - EARLY_S:
            self._set_alarm(self._deadline_s)
        else:
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            if self._failure is not None and not self._chunks:
                waiter.set_exception(self._failure)
            else:
                waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._wake()

    # -- what the transport says ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._is_whole or not self.was_asked:
            self.is_reusable = False  # nobody asked for this
            self.cut()
            return
        self.has_answered = True
        self._silent += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # With bytes behind its end a reply is not whole: its length was counted in characters, or it is another's.
            self.is_reusable = self._is_whole = False
            self._fail(NotHTTP(str(error)))
            self.cut()
            return
        if self._silent > MAX_SILENT:
            self._fail(NotHTTP("no end of headers"))
            self.cut()
        elif self._buffered > MAX_AHEAD and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        if self._waiter is not None and (self._chunks or self._is_whole or (self.has_head and not self._failure)):
            self._wake()

    def eof_received(self) -> bool:
        if self.has_head and not self._is_whole and not self._has_length and self._has_said_goodbye():
            self._is_whole = True  # a reply without a length ends with its connection
            self._wake()
        return False

    def _has_said_goodbye(self) -> bool:
        """Whether the end is the server's word: within TLS anybody on the way can end what is around it."""
        within = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        try:
            return within is None or bool(within.read(1) == b"")
        except ssl.SSLError:
            return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost, self.is_reusable, self._lost_s = True, False, self._loop.time()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._is_whole:
            error = Dropped()
            error.__cause__ = exc
            self._fail(error)
        else:
            self._wake()
        del self._parser  # it knows this connection, and so does the transport: only a collection would free a cycle
        self._transport = None
        self._on_lost(self)

    # -- what the parser says ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise NotHTTP("a second reply to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            return  # a trailer is none of ours
        key, said = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {said}" if key in self.headers else said

    def on_headers_complete(self) -> None:
        if self._is_whole:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = {}  # more is to come
            return
        headers = self.headers
        if self._silent > MAX_SILENT and sum(map(len, [*headers, *headers.values()])) > MAX_SILENT:
            raise NotHTTP("headers without end")  # which came in few pieces
        self.status, self.has_head, self._silent = status, True, 0
        self._has_length = "content-length" in headers or "transfer-encoding" in headers or status in _BODILESS

    def on_body(self, body: bytes) -> None:
        if not self._is_whole:
            self._chunks.append(body)
            self._buffered += len(body)
            self._silent = 0

    def on_message_complete(self) -> None:
        if self.has_head and not self._is_whole:
            self._is_whole = True
            self.is_reusable = not self.is_lost and self._parser.should_keep_alive()
