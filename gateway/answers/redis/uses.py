"""Uses of entries, written together now and then: no hit is worth a round trip of its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from gateway.answers.base import CacheError
from gateway.answers.tally import Ends, Tally

log = logging.getLogger(__name__)

Write = Callable[[Mapping[str, int], Ends], Awaitable[None]]


class Uses:
    """What has still to be written. Belongs to one event loop; a crash loses it, and so does a Redis that is away."""

    def __init__(self, write: Write, every_s: float) -> None:
        self._write = write
        self._every_s = every_s
        self._unwritten = Tally()
        self._writing: asyncio.Task[None] | None = None
        self.lost = 0

    def count(self, entry_id: str, times: int = 1) -> None:
        """An entry was used."""
        if self._unwritten.count(entry_id, times):
            self._soon()

    def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        """A use moved an entry's end."""
        if self._unwritten.prolong(scope, entry_id, expires_s):
            self._soon()

    async def close(self) -> None:
        """Write what there is."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
            self._writing = None
        await self._flush()

    def _soon(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._later())

    async def _later(self) -> None:
        while self._unwritten:
            await asyncio.sleep(self._every_s)
            await self._flush()

    async def _flush(self) -> None:
        hits, ends = self._unwritten.take()
        if not hits and not ends:
            return
        try:
            await self._write(hits, ends)
        except CacheError as error:
            self.lost += len(hits) + len(ends)
            log.info("uses of %d entries could not be written: %s", len(hits) + len(ends), error)
