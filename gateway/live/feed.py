"""The live feed as server-sent events: every request as it ends, in one row of JSON.

A reader looks at the ring a few times a second and is told what is new in one piece, so requests pay nothing for it.
One that does not take what it is sent is let go; it comes back by itself and says how far it was. Every reader has to
knock again after an hour: whoever was let in may have been shut out since.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from gateway.body import ClientGone, Curfew, while_connected
from gateway.errors import Stopping, TooManyReaders
from gateway.live.recent import Recent, Row

LOOK_EVERY_S = 0.2
BEAT_EVERY_S = 15.0
PATIENCE_S = 10.0  # with a reader that does not read
AT_ONCE = 200  # rows; what is more was missed, and is told as such
MOST_READERS = 64
LASTS_S = 3600.0
RETRY_MS = 1000


class Feed:
    """Readers of what happens. Belongs to one event loop."""

    def __init__(
        self,
        recent: Recent,
        curfew: Curfew,
        *,
        most_readers: int = MOST_READERS,
        patience_s: float = PATIENCE_S,
        lasts_s: float = LASTS_S,
    ) -> None:
        self.readers = 0
        self._recent = recent
        self._curfew = curfew
        self._most_readers = most_readers
        self._patience_s = patience_s
        self._lasts_s = lasts_s

    def stream(self, last_event_id: str | None, replay: int, is_welcome: Callable[[], bool] = lambda: True) -> "Stream":
        """A response that follows; it begins behind the event that was heard last, else with `replay` old rows, and
        ends when its reader is not welcome any more. Raises `TooManyReaders`."""
        if self.readers >= self._most_readers:
            raise TooManyReaders(f"{self.readers} readers follow the live feed; that is as many as there may be.")
        recent = self._recent
        heard = _number(last_event_id, int(recent.started_s))
        if heard is None or heard > recent.last:
            heard = recent.last - max(0, min(replay, AT_ONCE))
        return Stream(self, recent, self._curfew, max(0, heard), self._patience_s, self._lasts_s, is_welcome)


@dataclass(slots=True)
class Stream:
    """One reader, as an ASGI response."""

    feed: Feed
    recent: Recent
    curfew: Curfew
    heard: int  # the number of the last row it has
    patience_s: float
    lasts_s: float
    is_welcome: Callable[[], bool]

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        self.feed.readers += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await while_connected(receive, self.curfew, self._follow(send))
            await send({"type": "http.response.body", "body": b""})
        except (ClientGone, Stopping, OSError):
            return  # a reader that does not read is a TimeoutError, which is an OSError
        finally:
            self.feed.readers -= 1

    async def _follow(self, send: Send) -> None:
        async for events in self.events():
            async with asyncio.timeout(self.patience_s):
                await send({"type": "http.response.body", "body": events, "more_body": True})

    async def events(self) -> AsyncIterator[bytes]:
        """What is to be sent, piece by piece, until it is time to knock again."""
        yield f"retry: {RETRY_MS}\n\n".encode("ascii")
        loop = asyncio.get_running_loop()
        said_s = loop.time()
        ends_s = said_s + self.lasts_s
        while loop.time() < ends_s and self.is_welcome() and not self.curfew.is_near:
            new = self.recent.after(self.heard, AT_ONCE)
            if new:
                missed = new[0].number - self.heard - 1
                self.heard = new[-1].number
                said_s = loop.time()
                parts = [_event("missed", {"missed": missed})] if missed else []
                yield b"".join((*parts, *(self._told(row) for row in new)))
            elif loop.time() - said_s >= BEAT_EVERY_S:
                said_s = loop.time()
                yield _event("beat", {})
            await asyncio.sleep(LOOK_EVERY_S)

    def _told(self, row: Row) -> bytes:
        name = f"id: {int(self.recent.started_s)}-{row.number}\n".encode("ascii")
        return name + _event("request", self.recent.told(row))


def _event(name: str, data: object) -> bytes:
    return b"event: " + name.encode("ascii") + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def _number(event_id: str | None, started_s: int) -> int | None:
    """The row that an id names, None when it is of another process or of none."""
    start, _, number = (event_id or "").partition("-")
    is_ours = start == str(started_s) and number.isascii() and number.isdigit()
    return int(number[:18]) if is_ours else None
