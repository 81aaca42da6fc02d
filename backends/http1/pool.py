"""The connections to one server: kept open while idle, so many at most, each lent to one exchange at a time.

    connection = await pool.lease(deadline)     # the one that was idle last, else a new one, else a turn in the queue
    ...
    pool.give_back(connection)                  # idle again if the reply was read to its end; else it is cut

Nothing here looks at all connections: one that the server closes says so itself, and those that were idle too long
stand first. A connection is made in a task of its own: given up half made, it is closed when it is there.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from backends.http1.connection import EARLY_S, Connection

Dial = Callable[[Callable[[Connection], None]], Awaitable[Connection]]
Turn = asyncio.Future[Connection | None]  # None: there may be room for a new one


class NoRoom(Exception):
    """All connections were in use, for longer than one waits."""


@dataclass(frozen=True, slots=True)
class PoolRule:
    """How many there are, and for how long."""

    most: int
    idle_s: float
    wait_s: float  # for one, while all are in use


class Pool:
    """Belongs to one event loop."""

    def __init__(self, dial: Dial, rule: PoolRule) -> None:
        self._dial = dial
        self._rule = rule
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # whoever was used last stands last
        self._dialing: set[asyncio.Task[Connection]] = set()
        self._count = 0  # open, or being made
        self._waiting: deque[Turn] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._over: asyncio.Future[None] | None = None

    async def lease(self, deadline_s: float, *, is_new: bool = False) -> Connection:
        """A connection. `is_new`: one that nobody has used. Raises `NoRoom`, TimeoutError, and what dialing raises."""
        patience_s = 0.0
        while True:
            if self._is_closed:
                raise ConnectionAbortedError("the pool is closed")
            if self._idle and not is_new:
                connection, _ = self._idle.popitem()
                if not connection.has_unread():
                    return connection
                connection.cut()  # closed by the server, or with bytes that would be taken for the next reply
                continue
            if self._count < self._rule.most:
                return await self._dialed(deadline_s)
            if self._idle:
                self._cut_oldest()
            patience_s = patience_s or asyncio.get_running_loop().time() + self._rule.wait_s
            if (found := await self._turn(patience_s, deadline_s)) is None:
                continue
            if not is_new and not found.has_unread():
                return found
            found.cut()  # makes room, once it is told to be over

    def give_back(self, connection: Connection) -> None:
        """The exchange is over; a connection with a part of the request, or of the reply, on its way is no use."""
        if connection.is_whole and connection.is_reusable and connection.is_sent and not self._is_closed:
            self._put(connection)
        else:
            connection.cut()

    async def close(self) -> None:
        """Close all of them, and wait until they are."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for dialing in self._dialing:
            dialing.cancel()
        if self._dialing:
            await asyncio.wait(self._dialing)
        for connection in tuple(self._open):
            connection.cut()
        if self._open:
            self._over = asyncio.get_running_loop().create_future()
            await self._over

    # -- making them ---------------------------------------------------------------------------------------------

    async def _dialed(self, deadline_s: float) -> Connection:
        dialing = asyncio.get_running_loop().create_task(self._dial_one())
        self._dialing.add(dialing)
        dialing.add_done_callback(self._dialing.discard)
        try:
            async with asyncio.timeout_at(deadline_s):
                return await asyncio.shield(dialing)
        except (asyncio.CancelledError, TimeoutError):
            dialing.add_done_callback(_cut_unclaimed)
            raise

    async def _dial_one(self) -> Connection:
        self._count += 1
        is_kept = False
        try:
            connection = await self._dial(self._lost)
            is_kept = not connection.is_lost
            if is_kept:
                self._open.add(connection)
            return connection
        finally:
            if not is_kept:
                self._count -= 1
                self._make_room_known()

    # -- who waits -----------------------------------------------------------------------------------------------

    async def _turn(self, patience_s: float, deadline_s: float) -> Connection | None:
        turn: Turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(min(patience_s, deadline_s)):
                return await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if not turn.done():
                turn.cancel()  # and whoever comes upon it passes it over
            elif not turn.cancelled():
                self._pass_on(turn.result())
            if isinstance(error, TimeoutError) and patience_s <= deadline_s:
                raise NoRoom from error
            raise

    def _pass_on(self, connection: Connection | None) -> None:
        if connection is None:
            self._make_room_known()
        elif not connection.is_lost:
            self._put(connection)

    def _put(self, connection: Connection) -> None:
        """To whoever waits, or among the idle ones."""
        connection.was_idle = True
        if (turn := self._next()) is not None:
            turn.set_result(connection)
            return
        loop = asyncio.get_running_loop()
        connection.idle_until_s = loop.time() + self._rule.idle_s
        self._idle[connection] = None
        if self._sweeping is None:
            self._sweeping = loop.call_at(connection.idle_until_s, self._sweep)

    def _make_room_known(self) -> None:
        if (turn := self._next()) is not None:
            turn.set_result(None)

    def _next(self) -> Turn | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None

    # -- letting them go -----------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time() + EARLY_S
        while self._idle and next(iter(self._idle)).idle_until_s <= now_s:
            self._cut_oldest()
        self._sweeping = loop.call_at(next(iter(self._idle)).idle_until_s, self._sweep) if self._idle else None

    def _cut_oldest(self) -> None:
        connection = next(iter(self._idle))
        del self._idle[connection]
        connection.cut()

    def _lost(self, connection: Connection) -> None:
        """It is over: told by itself, once."""
        self._idle.pop(connection, None)
        if connection not in self._open:
            return
        self._open.remove(connection)
        self._count -= 1
        self._make_room_known()
        if self._over is not None and not self._open:
            self._over.set_result(None)


def _cut_unclaimed(dialing: asyncio.Task[Connection]) -> None:
    """Nobody waits for it any more."""
    if not dialing.cancelled() and dialing.exception() is None:
        dialing.result().cut()
