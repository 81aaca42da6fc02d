"""A thread on a file of our own that is begun anew when it breaks or is deleted: behind the backs of those who ask."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.answers.base import CacheError
from gateway.answers.file import identity, set_aside
from gateway.answers.thread import BrokenFile, ConnectionThread, Run

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_S = 1.0  # between two looks whether the file is still there
AGAIN_S = 0.2  # until the next try to open it, and twice as long each time
SELDOM_S = 15.0


class MendedThread(ConnectionThread):
    """As `ConnectionThread`; what it was asked while the file is begun anew is a `CacheError`. `connect` makes a file
    where there is none."""

    def __init__(
        self,
        path: Path,
        name: str,
        connect: Callable[[], sqlite3.Connection],
        run: Run,
        *,
        max_waiting: int,
        max_together: int,
    ) -> None:
        super().__init__(name, connect, run, max_waiting=max_waiting, max_together=max_together)
        self.num_mended = 0
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._looked_s = 0.0
        self._mending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await super().open()
        self._identity, self._looked_s = identity(self._path), time.monotonic()

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._mending is not None and not self._mending.done():
            raise CacheError(f"{self._path.name} is being begun anew")
        try:
            self._look()
            return await super().call(work)
        except BrokenFile as error:
            if self._mending is None or self._mending.done():
                self._mending = asyncio.create_task(self._mend(error))
            raise

    async def close(self) -> None:
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])
        await super().close()

    def _look(self) -> None:
        """Raises `BrokenFile` when what is written goes nowhere."""
        now_s = time.monotonic()
        if self.is_open and now_s - self._looked_s > LOOK_S:
            self._looked_s = now_s
            if identity(self._path) != self._identity:
                raise BrokenFile(f"{self._path} was deleted or replaced while in use")

    async def _mend(self, error: BrokenFile) -> None:
        await super().close()
        pause_s = AGAIN_S
        while True:
            try:
                if self._identity is not None and identity(self._path) == self._identity:
                    await asyncio.to_thread(set_aside, self._path, str(error))
                self._identity = None
                await self.open()
                self.num_mended += 1
                return
            except (CacheError, OSError) as trouble:
                log.error("%s cannot be begun anew, going on without it: %s", self._path, trouble)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, SELDOM_S)
