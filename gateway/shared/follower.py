"""A replica that follows the feed: what others wrote or removed changes what is held near, within milliseconds.

    place    the last event that was applied. What comes after it is read, applied, and only then is it moved:
             an event may be applied twice, never skipped.
    whole    the event at our place is still in the stream after a read, so nothing between was trimmed, and the server
             still has its data. Else nobody knows what was missed: memory is cleared at once, and what was made from
             the store is made anew, while the feed is followed on.

While the server is away nothing changes here: memory and indexes go on serving.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gateway.answers.base import CacheError
from gateway.ledger import Ledger
from gateway.shared.feed import Event, News, Removed, news_of

log = logging.getLogger(__name__)

WAIT_S = 1.0  # for an event; then it is looked whether our place is still there
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # between two attempts to reach the server


@dataclass(frozen=True, slots=True)
class Read:
    """What came after a place."""

    events: Sequence[Event]
    place: str  # the newest event's
    made_s: float | None  # when it was made, by the server's clock; None: nothing came
    is_whole: bool  # nothing is missing between the place that was asked about and these
    asked: Sequence[str] = ()  # questions whether these are applied
    removed: Sequence[Removed] = ()  # by others, whatever is selected


class Stream(Protocol):
    """The feed, read. Raises `CacheError`."""

    async def end(self) -> str:
        """The place of the newest event; there always is one."""

    async def after(self, place: str, wait_s: float) -> Read:
        """What came after `place`; waits for the first."""


class Near(Protocol):
    """What a replica holds near. Raises `CacheError`."""

    def clear(self) -> None:
        """Forget what nobody can vouch for."""

    async def forget(self, removed: Sequence[Removed]) -> None:
        """Forget what others remove, and do not keep what began to be made before."""

    async def apply(self, news: Sequence[News]) -> None: ...

    async def renew(self) -> None:
        """Make everything that is made from the store anew."""


class Answering(Protocol):
    """Tells the others that this replica is here, and how far. Raises `CacheError`."""

    async def pulse(self) -> None: ...

    async def answer(self, question: str) -> None: ...


@dataclass(slots=True)
class FollowerStats:
    """What came of following since the start."""

    events: int = 0
    own: int = 0  # of these
    batches: int = 0
    lost: int = 0  # times that nobody knew what was missed
    failures: int = 0
    lag_s: float = 0.0  # from the newest event to its having been applied


class Follower:
    """Belongs to one event loop."""

    def __init__(
        self,
        stream: Stream,
        near: Near,
        replica: bytes,
        ledger: Ledger,
        *,
        echo: Answering | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self.stats = FollowerStats()
        self.is_following = False
        self._stream = stream
        self._near = near
        self._replica = replica
        self._ledger = ledger
        self._echo = echo
        self._wait_s = wait_s
        self.place: str | None = None  # the last event that was applied
        self._renewal: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        """Whether the feed is followed, and all that had to be made anew is."""
        return self.is_following and (self._renewal is None or self._renewal.done())

    @property
    def state(self) -> str:
        """For the operator: "ready", or what it is at."""
        if not self.is_following:
            return "not followed"
        return "ready" if self.is_current else "reading everything anew"

    async def open(self) -> None:
        """Take the place from which on events matter: before anything is read from the store. Raises `CacheError`."""
        if self.place is None:
            self.place = await self._stream.end()

    async def run(self) -> None:
        """Follow until cancelled."""
        pause_s, own = SHORTEST_PAUSE_S, asyncio.current_task()
        try:
            while own is None or not own.cancelling():
                try:
                    await self._follow()
                    pause_s = SHORTEST_PAUSE_S
                except CacheError as error:
                    pause_s = SHORTEST_PAUSE_S if self.is_following else min(2 * pause_s, LONGEST_PAUSE_S)
                    self._failed(error)
                    await asyncio.sleep(pause_s)
                except Exception:  # the root of a task: a bug must not leave this gateway deaf
                    log.exception("what others did cannot be followed; everything is read anew")
                    self.place, self.is_following = None, False
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    await asyncio.sleep(pause_s)
            raise asyncio.CancelledError
        finally:
            self.is_following = False
            if self._renewal is not None:
                self._renewal.cancel()
                with suppress(asyncio.CancelledError):
                    await self._renewal

    async def _follow(self) -> None:
        """One read, and what follows from it."""
        if self.place is None:
            place = await self._stream.end()
            self._near.clear()
            self.place = place
            self._renew()
        read = await self._stream.after(self.place, self._wait_s)
        if not read.is_whole:
            self.stats.lost += 1
            self.place = None
            log.warning("the feed does not go on where it was left: everything is read anew")
            return
        if not self.is_following:
            self.is_following = True
            log.info("the feed of the other replicas is followed from %s", self.place)
        if read.removed:
            await self._near.forget(read.removed)
        await self._near.apply(news_of(read.events, self._replica))
        self.place = read.place
        self._count(read)
        if self._echo is not None:
            for question in read.asked:
                await self._echo.answer(question)
            await self._echo.pulse()

    def _count(self, read: Read) -> None:
        if read.made_s is not None:
            self.stats.batches += 1
            self.stats.events += len(read.events)
            self.stats.own += sum(event.replica == self._replica for event in read.events)
            self.stats.lag_s = max(0.0, time.time() - read.made_s)

    def _failed(self, error: CacheError) -> None:
        self.stats.failures += 1
        if self.is_following:  # told once, not with every attempt
            self.is_following = False
            with self._ledger.best_effort("feed"):
                raise error

    def _renew(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()  # what it read may be older than what was missed
        self._renewal = asyncio.create_task(self._renewed(self._renewal))

    async def _renewed(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        pause_s, began_s = SHORTEST_PAUSE_S, time.monotonic()
        while True:
            try:
                await self._near.renew()
            except CacheError as error:
                log.debug("what is made from the store cannot be made anew yet: %s", error)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
                continue
            log.info("everything was read anew in %.1f s", time.monotonic() - began_s)
            return
