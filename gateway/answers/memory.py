"""Answers in this process's memory: least recently used goes first, under a budget of bytes.

Every operation is O(1) and synchronous (`..._now`); the awaitable ones are the `Answers` contract over them.

    _kept    (scope, exact) -> entry and its bytes, in order of use
    _ids     (scope, id)    -> exact

Invariants: both maps know the same entries; `bytes_kept` is the sum of their sizes and never above the budget.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from gateway.answers.base import CacheError, Embedded, Entry, Unembedded, embedded_of, unembedded_of
from gateway.answers.codec import encode, size_bytes, vector_bytes

KEEP_STALE_S = 3600.0


@dataclass(slots=True)
class MemoryStats:
    """What was let go since the start."""

    evicted: int = 0
    expired: int = 0
    too_large: int = 0


class MemoryAnswers:
    """An `Answers` store that ends with the process. Belongs to one event loop."""

    def __init__(
        self, budget_bytes: int, *, keep_stale_s: float = KEEP_STALE_S, now: Callable[[], float] = time.time
    ) -> None:
        self._budget_bytes = budget_bytes
        self._keep_stale_s = keep_stale_s
        self._now = now
        self._kept: OrderedDict[tuple[bytes, bytes], tuple[Entry, int]] = OrderedDict()
        self._ids: dict[tuple[bytes, str], bytes] = {}
        self.bytes_kept = 0
        self.stats = MemoryStats()

    def __len__(self) -> int:
        return len(self._kept)

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry under this fingerprint if it is here; counts as use."""
        found = self._kept.get((scope, exact))
        if found is None:
            return None
        entry = found[0]
        if not entry.is_fresh(self._now() - self._keep_stale_s):
            self._drop((scope, exact))
            self.stats.expired += 1
            return None
        self._kept.move_to_end((scope, exact))
        return entry

    def by_id_now(self, scope: bytes, entry_id: str) -> Entry | None:
        """The entry of this name inside this scope if it is here; counts as use."""
        exact = self._ids.get((scope, entry_id))
        return None if exact is None else self.get_now(scope, exact)

    def put_now(self, entry: Entry) -> None:
        """Keep `entry`, making room for it; one larger than the whole budget is counted and not kept."""
        self._keep(entry)

    def _keep(self, entry: Entry) -> bool:
        size = size_bytes(entry, encode(entry.completion))
        self._replace(entry)
        if size > self._budget_bytes:
            self.stats.too_large += 1
            return False
        self._make_room(size)
        self._kept[entry.scope, entry.exact] = (entry, size)
        self._ids[entry.scope, entry.id] = entry.exact
        self.bytes_kept += size
        return True

    def remove_now(self, scope: bytes, entry_id: str) -> bool:
        """Forget the entry; False when it is not here."""
        exact = self._ids.get((scope, entry_id))
        if exact is None:
            return False
        self._drop((scope, exact))
        return True

    def set_vector_now(self, row: Unembedded, embedder: str, vector: bytes) -> None:
        """Give the entry its vector if it is here and still asks the same; does not count as use."""
        key = (row.scope, self._ids.get((row.scope, row.id), b""))
        entry, size = self._kept.get(key, (None, 0))
        if entry is None or entry.question != row.question:
            return
        grown = replace(entry, embedder=embedder, vector=vector)
        growth = vector_bytes(grown) - vector_bytes(entry)
        self._kept[key] = (grown, size + growth)  # in its place: an assignment does not move a key
        self.bytes_kept += growth
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        while self.bytes_kept + size > self._budget_bytes:
            self._drop(next(iter(self._kept)))
            self.stats.evicted += 1

    def _replace(self, entry: Entry) -> None:
        """Drop what has this fingerprint, and what has this name under another one."""
        if (entry.scope, entry.exact) in self._kept:
            self._drop((entry.scope, entry.exact))
        self.remove_now(entry.scope, entry.id)

    def _drop(self, key: tuple[bytes, bytes]) -> None:
        entry, size = self._kept.pop(key)
        del self._ids[entry.scope, entry.id]
        self.bytes_kept -= size

    # -- the Answers contract ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Nothing to open."""

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        return self.get_now(scope, exact)

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        return self.by_id_now(scope, entry_id)

    async def put(self, entry: Entry) -> None:
        if not self._keep(entry):
            raise CacheError(f"entry {entry.id} is larger than the memory budget of {self._budget_bytes} bytes")

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        return self.remove_now(scope, entry_id)

    async def count_hit(self, entry_id: str) -> None:
        """Nothing to note: being read is what counts here."""

    async def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        for entry in self._visible():
            if entry.embedder == embedder and (row := embedded_of(entry)) is not None:
                yield row

    async def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        for entry in self._visible():
            is_done = entry.embedder == embedder and entry.vector is not None
            if not is_done and (row := unembedded_of(entry)) is not None:
                yield row

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> None:
        self.set_vector_now(row, embedder, vector)

    def _visible(self) -> list[Entry]:
        """Entries that are not gone yet, oldest first."""
        horizon_s = self._now() - self._keep_stale_s
        entries = [entry for entry, _ in self._kept.values() if entry.is_fresh(horizon_s)]
        return sorted(entries, key=lambda entry: entry.created_s)

    async def size(self) -> int:
        return len(self._kept)

    async def close(self) -> None:
        self._kept.clear()
        self._ids.clear()
        self.bytes_kept = 0
