"""Identical requests in flight share one generation.

The first caller starts a flight; whoever asks the same while it lasts rides along: what is buffered is replayed,
then the live stream is followed. A flight outlives its first caller and is cancelled when the last rider leaves.
(Go's singleflight, extended to streams.) Its source may begin anew as long as nobody has heard anything.

    deltas   0 ............ position ............ landed so far
             |  seen by this rider |  buffered     |  still to come: wait for news
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from backends.chat import Delta
from backends.errors import BackendError
from gateway.answers.base import Mark

Source = Callable[[], AsyncGenerator[Delta, None]]


class CalledOff(BackendError):
    """Everybody had left, or the gateway stops: nobody has heard how it would have ended."""


class Flight:
    """One generation and its riders. Belongs to one event loop."""

    def __init__(self, source: Source, close_door: Callable[["Flight"], None], began: Mark | None = None) -> None:
        self.began = began
        self._deltas: list[Delta] = []
        self._error: Exception | None = None
        self._has_ended = False
        self._is_settled = False
        self._riders = 0
        self._news = asyncio.Event()
        self._close_door = close_door
        self._task = asyncio.create_task(self._fly(source))

    async def ride(self, *, is_patient: bool = False) -> AsyncGenerator[Delta, None]:
        """Yield all deltas from the first on. Closing it leaves the flight; the last to leave cancels it.

        A rider counts from its first `anext`, so take that before anything else can leave. Who is patient, for want of
        nothing but the whole, hears nothing before it is settled.
        """
        async with aclosing(self.ride_in_batches(is_patient=is_patient)) as batches:
            async for batch in batches:
                for delta in batch:
                    yield delta

    async def ride_in_batches(
        self, position: int = 0, *, is_patient: bool = False
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """As `ride`, from a position on: whatever has landed since the last look, at once."""
        self._riders += 1
        try:
            while True:
                if position < len(self._deltas) and (self._is_settled or not is_patient):
                    self.settle()
                    batch = self._deltas[position:]
                    position += len(batch)
                    yield batch
                    continue
                if self._has_ended:
                    break
                await self._news.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._riders -= 1
            if self._riders == 0 and not self._has_ended:
                await self._cancel()

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    @property
    def is_settled(self) -> bool:
        """Whether what has landed stays: somebody heard it, or it has ended, or its source says so."""
        return self._is_settled

    def settle(self) -> None:
        """What has landed stays, and so does what will."""
        if not self._is_settled:
            self._is_settled = True
            self._announce()

    def forget(self) -> bool:
        """Begin anew, unless what has landed is settled."""
        if not self._is_settled:
            self._deltas.clear()
        return not self._is_settled

    @property
    def num_landed(self) -> int:
        """Deltas so far."""
        return len(self._deltas)

    async def call_off(self) -> None:
        """Cancel it whoever rides; they hear that it was cancelled."""
        if not self._has_ended:
            await self._cancel()

    async def _cancel(self) -> None:
        self._close_door(self)  # first: nobody may board a flight that is being called off
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _fly(self, source: Source) -> None:
        try:
            async with aclosing(source()) as deltas:
                async for delta in deltas:
                    self._deltas.append(delta)
                    self._announce()
        except asyncio.CancelledError:  # ends here: a task that keeps it keeps itself, until somebody looks for cycles
            self._error = CalledOff("The generation was cancelled.")
        except Exception as error:  # the root of a task: whatever it is, the riders must hear of it
            self._error = error
        finally:
            self._has_ended = self._is_settled = True
            self._close_door(self)
            self._announce()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Flights:
    """The flights one can still board, by exact fingerprint."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def find(self, exact: bytes) -> Flight | None:
        return self._flights.get(exact)

    def start(self, exact: bytes, source: Source, began: Mark | None = None) -> Flight:
        """Start a generation others may join until it has ended; `source` records the answer before it ends.

        It takes the place of one that nobody should join any more.
        """

        def close_door(flight: Flight) -> None:
            if self._flights.get(exact) is flight:
                del self._flights[exact]

        flight = self._flights[exact] = Flight(source, close_door, began)
        return flight

    def __len__(self) -> int:
        return len(self._flights)
