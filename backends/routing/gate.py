"""So many requests at once into a backend; a bounded queue before it, in which tenants take turns.

    async with gate.place(owner): ...      # raises QueueFull: the queue is full, or the wait was too long

Who leaves while he waits gives his place back at once. A tenant with a hundred waiting requests holds up another's
first one by one request, not by a hundred.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backends.errors import BackendBusy, BackendError, BackendNotReady

Place = asyncio.Future[None]


class QueueFull(BackendBusy):
    """No room was left in our own queue, or not in time. The wait is over: it is not begun again behind the back."""


@dataclass(frozen=True, slots=True)
class GateRule:
    """0 at once: no limit, and nobody waits."""

    at_once: int = 0
    queue: int = 64
    queue_s: float = 30.0


class Gate:
    """The door of one backend. Belongs to one event loop."""

    def __init__(self, name: str, rule: GateRule) -> None:
        self.rule = rule
        self.inside = 0
        self.refused = 0
        self.timed_out = 0
        self._name = name
        self._queues: OrderedDict[str, deque[Place]] = OrderedDict()  # by owner; who is next stands first
        self._seconds = 1.0  # how long one is inside, lately

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    @property
    def is_full(self) -> bool:
        """Whether somebody who comes now is sent away."""
        return self._has_no_room and self.waiting >= self.rule.queue

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[None]:
        """Be inside as long as the block lasts. Raises as `enter`."""
        since_s = await self.enter(owner)
        try:
            yield
        finally:
            self.leave(since_s)

    async def enter(self, owner: str) -> float:
        """Go inside, when it is one's turn; owes `leave` what it returns.

        Raises `QueueFull`; `BackendNotReady` when turned away.
        """
        if self._has_no_room:
            await self._wait(owner)
        else:
            self.inside += 1
        return time.monotonic()

    def leave(self, since_s: float) -> None:
        """Be outside again."""
        self._seconds += 0.1 * (time.monotonic() - since_s - self._seconds)
        self._leave()

    def turn_away(self) -> None:
        """Send away who waits; they are told to go elsewhere."""
        error = BackendNotReady(f"{self._name} takes no new requests")
        queues, self._queues = self._queues, OrderedDict()
        for queue in queues.values():
            for place in queue:
                _settle(place, error)

    @property
    def _has_no_room(self) -> bool:
        return 0 < self.rule.at_once <= self.inside

    async def _wait(self, owner: str) -> None:
        if self.waiting >= self.rule.queue:
            self.refused += 1
            raise self._busy("has no room in its queue")
        place: Place = asyncio.get_running_loop().create_future()
        self._queues.setdefault(owner, deque()).append(place)
        try:
            async with asyncio.timeout(self.rule.queue_s):
                await place
        except TimeoutError as error:
            self._forsake(owner, place)
            self.timed_out += 1
            raise self._busy(f"had no room for {self.rule.queue_s:g} s") from error
        except asyncio.CancelledError:
            self._forsake(owner, place)
            raise

    def _forsake(self, owner: str, place: Place) -> None:
        """Take a place out of the queue, or pass it on when it was given already."""
        if place.done() and not place.cancelled() and place.exception() is None:
            self._leave()
            return
        queue = self._queues.get(owner, deque())
        if place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[owner]

    def _leave(self) -> None:
        """Give the place to whoever is next: tenants in turn, each one's requests in the order they came."""
        while self._queues:
            owner, queue = self._queues.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._queues[owner] = queue  # behind the others
            if not place.done():
                place.set_result(None)
                return
        self.inside -= 1

    def _busy(self, what: str) -> QueueFull:
        rounds = (self.waiting + 1) / max(1, self.rule.at_once)
        return QueueFull(f"{self._name} {what}", retry_after_s=min(60.0, max(1.0, rounds * self._seconds)))


def _settle(place: Place, error: BackendError) -> None:
    if not place.done():
        place.set_exception(error)
