"""Writes of one entry, one after another: commands on two connections may reach Redis in either order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Order:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._last: dict[bytes, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def after(self, key: bytes) -> AsyncIterator[None]:
        """Begin when everything about `key` that began before has ended."""
        before, mine = self._last.get(key), asyncio.get_running_loop().create_future()
        self._last[key] = mine
        try:
            if before is not None:
                await asyncio.wait([before])
            yield
        finally:
            if before is not None and not before.done():  # given up while waiting: who comes next waits on
                before.add_done_callback(lambda _: self._end(key, mine))
            else:
                self._end(key, mine)

    def _end(self, key: bytes, mine: "asyncio.Future[None]") -> None:
        mine.set_result(None)
        if self._last.get(key) is mine:
            del self._last[key]

    async def after_all(self) -> None:
        """Wait for everything that has begun."""
        if self._last:
            await asyncio.wait(list(self._last.values()))
