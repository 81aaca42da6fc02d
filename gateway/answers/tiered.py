"""Memory in front of a store: what was asked lately is had without waiting, the rest outlives the process.

A failing store is heard of (`CacheError`, so the caller counts it) but never takes what memory has: memory is asked
first and written first.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.answers.base import Answers, Embedded, Entry, Unembedded
from gateway.answers.memory import MemoryAnswers


class TieredAnswers:
    """An `Answers` store of two levels. Belongs to one event loop."""

    def __init__(self, memory: MemoryAnswers, store: Answers) -> None:
        self._memory = memory
        self._store = store
        self._writes = 0  # puts and removals so far: what was read before one may be old after it

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry if memory has it: the hot path, without an await."""
        return self._memory.get_now(scope, exact)

    def put_now(self, entry: Entry) -> None:
        """Keep `entry` in memory alone; `put` makes it last. Raises `CacheError` for what JSON cannot hold."""
        self._writes += 1
        self._memory.put_now(entry)

    async def open(self) -> None:
        """Open the store. Raises `CacheError`; memory works all the same."""
        await self._store.open()

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        """From memory, else from the store into memory.

        Raises `CacheError` when the store had to be asked and fails: not knowing is not the same as having none.
        """
        found = self._memory.get_now(scope, exact)
        return found if found is not None else await self._fetched(lambda: self._store.get(scope, exact))

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        """As `get`, by name."""
        found = self._memory.by_id_now(scope, entry_id)
        return found if found is not None else await self._fetched(lambda: self._store.by_id(scope, entry_id))

    async def put(self, entry: Entry) -> None:
        """Keep `entry` in memory, then in the store. After a `CacheError` memory still has it."""
        self.put_now(entry)
        await self._store.put(entry)
        self._writes += 1  # a read that overlapped the write may hold what was there before

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        self._writes += 1
        was_near = self._memory.remove_now(scope, entry_id)
        was_far = await self._store.remove(scope, entry_id)
        self._writes += 1  # likewise
        return was_near or was_far

    async def count_hit(self, entry_id: str) -> None:
        await self._store.count_hit(entry_id)

    def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        return self._store.embedded(embedder)

    def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        return self._store.unembedded(embedder)

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> None:
        self._memory.set_vector_now(row, embedder, vector)  # no write of an answer: what is read meanwhile stays right
        await self._store.set_vector(row, embedder, vector)

    async def size(self) -> int:
        return await self._store.size()

    async def close(self) -> None:
        await self._store.close()
        await self._memory.close()

    async def _fetched(self, fetch: Callable[[], Awaitable[Entry | None]]) -> Entry | None:
        """Read from the store, and keep it near unless something was written or removed meanwhile."""
        writes = self._writes
        entry = await fetch()
        if entry is not None and writes == self._writes:
            self._memory.put_now(entry)
        return entry
