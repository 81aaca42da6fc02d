"""Vectors in memory, the least recently used first to go. Belongs to one event loop."""

from collections import OrderedDict
from collections.abc import Iterable

from gateway.answers.selection import Selection
from gateway.embedded.kept import Kept, is_meant


class MemoryVectors:
    """As many as fit a budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self.size_bytes = 0
        self._budget_bytes = budget_bytes
        self._rows: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Kept]:
        """Those that are here."""
        found = {key: kept for key in keys if (kept := self._rows.get(key)) is not None}
        for key in found:
            self._rows.move_to_end(key)
        return found

    def put(self, rows: Iterable[Kept]) -> None:
        """Keep these; what does not fit goes, oldest use first."""
        for kept in rows:
            self._drop(kept.key)
            self._rows[kept.key] = kept
            self.size_bytes += kept.size_bytes
        while self.size_bytes > self._budget_bytes and self._rows:
            self._drop(next(iter(self._rows)))

    def shed(self) -> None:
        """Let go of half, because memory is short; the file has all of it."""
        half = self.size_bytes // 2
        while self.size_bytes > half and self._rows:
            self._drop(next(iter(self._rows)))

    def count(self, selection: Selection) -> int:
        return sum(is_meant(selection, kept) for kept in self._rows.values())

    def remove(self, selection: Selection) -> int:
        """Forget what is meant; how many those were."""
        gone = [key for key, kept in self._rows.items() if is_meant(selection, kept)]
        for key in gone:
            self._drop(key)
        return len(gone)

    def _drop(self, key: bytes) -> None:
        kept = self._rows.pop(key, None)
        if kept is not None:
            self.size_bytes -= kept.size_bytes
