"""Whether the index holds what the store holds: looked at now and then, counted, and put right.

The store is the truth. A row the index lacks is added again while the budget has room for it; one the store does not
know any more is dropped. Reading the store costs most: it is done so seldom that it takes a hundredth of the time.
"""

import asyncio
import logging
import time

import numpy as np

from embeddings.index import VectorIndex
from gateway.answers.base import DIGEST_BYTES, Answers, Embedded

log = logging.getLogger(__name__)

EVERY_S = 600.0
REST = 100  # times what a look took
TOGETHER = 64  # suspects that the store is asked about at once


class Agreement:
    """One index and the store it is made from. Belongs to the event loop."""

    def __init__(self, answers: Answers, index: VectorIndex, fingerprint: str) -> None:
        self.live_rows = len(index)  # of the store, with a vector of this embedder: at the last look, and known since
        self._answers = answers
        self._index = index
        self._fingerprint = fingerprint
        self._due_s = time.monotonic() + EVERY_S

    async def look_when_due(self) -> None:
        """Look when it is time. Raises `CacheError` when the store cannot be read."""
        began_s = time.monotonic()
        if began_s < self._due_s:
            return
        self._due_s = began_s + EVERY_S
        await self.look()
        ended_s = time.monotonic()
        self._due_s = ended_s + max(EVERY_S, REST * (ended_s - began_s))

    async def look(self, *, is_thorough: bool = False) -> tuple[int, int]:
        """Compare, and put right: how many rows were added and dropped. Unless thorough, what the store lost is looked
        for only where the index has more rows than there should be."""
        index = self._index
        suspects = await self._all() if is_thorough or len(index) > self.live_rows else set()
        live = added = 0
        async for row in self._answers.embedded(self._fingerprint):
            partition = row.scope + row.compat
            suspects.discard((partition, row.id))
            if not index.has(partition, row.id):
                if row.expires_s is not None and row.expires_s <= time.time():
                    continue  # it is still there for those who take a stale answer
                added += index.has_room and await self._add(row)
            live += 1
        self.live_rows = live
        dropped = 0
        doubtful = list(suspects)
        for start in range(0, len(doubtful), TOGETHER):
            some = doubtful[start : start + TOGETHER]
            found = await asyncio.gather(*(self._answers.by_id(name[:DIGEST_BYTES], id) for name, id in some))
            dropped += sum(index.remove(*one) for one, entry in zip(some, found, strict=True) if entry is None)
        if added or dropped:
            log.warning("the index differed from the store: %d rows added, %d dropped", added, dropped)
        return added, dropped

    async def _all(self) -> set[tuple[bytes, str]]:
        found: set[tuple[bytes, str]] = set()
        for partition in self._index.sizes():
            for id in self._index.ids(partition):
                found.add((partition, id))
                if len(found) % 1024 == 0:
                    await asyncio.sleep(0)
        return found

    async def _add(self, row: Embedded) -> bool:
        self._index.add(row.scope + row.compat, row.id, np.frombuffer(row.vector, dtype="<f4"))
        if await self._answers.by_id(row.scope, row.id) is None:  # it was removed since the page was read
            self._index.remove(row.scope + row.compat, row.id)
            return False
        return True
