"""Writes that wait while Redis is away: in order, within a bound of bytes, done when it is back.

A put that does not fit is refused, and its caller hears of it. A removal is never refused: when too many wait, all of
them, and everything before them, become one: remove whatever is there. What waits to be removed is hidden from every
read; what is put behind a removal is not.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.answers.base import Entry, Unembedded
from gateway.answers.memory import is_meant
from gateway.answers.selection import Selection

MAX_REMOVALS = 1000
SMALL_BYTES = 512  # of anything but an entry or a vector


@dataclass(frozen=True, slots=True)
class Put:
    entry: Entry
    size_bytes: int
    known: bytes = b""  # the last removal known when the answer began to be made


@dataclass(frozen=True, slots=True)
class Vector:
    row: Unembedded
    embedder: str
    vector: bytes

    @property
    def size_bytes(self) -> int:
        return SMALL_BYTES + len(self.vector)


@dataclass(frozen=True, slots=True)
class Remove:
    selection: Selection
    size_bytes: int = SMALL_BYTES


Write: TypeAlias = Put | Vector | Remove


class Behind:
    """The queue. Belongs to one event loop."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._writes: deque[Write] = deque()
        self._entries: dict[tuple[bytes, bytes], Entry] = {}  # the last of each key that waits to be put
        self._removals: deque[Remove] = deque()
        self.size_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, write: Put | Vector) -> bool:
        """Let `write` wait; False when there is no room."""
        if self.size_bytes + write.size_bytes > self._budget_bytes:
            self.dropped += 1
            return False
        if isinstance(write, Put):
            self._entries[write.entry.scope, write.entry.exact] = write.entry
        self._append(write)
        return True

    def remove(self, selection: Selection) -> None:
        """Let a removal wait; there is always room."""
        removal = Remove(selection)
        if len(self._removals) >= MAX_REMOVALS:
            self.dropped += len(self._writes) - len(self._removals)
            self._writes.clear()
            self._entries.clear()
            self._removals.clear()
            self.size_bytes = 0
            removal = Remove(Selection())
        self.forget(selection)
        self._removals.append(removal)
        self._append(removal)

    def forget(self, selection: Selection) -> None:
        """Somebody else removed it: what waits is not found any more, and is refused when its turn comes."""
        for key in [key for key, entry in self._entries.items() if is_meant(selection, entry)]:
            del self._entries[key]

    def find(self, scope: bytes, exact: bytes) -> Entry | None:
        """What waits to be put here."""
        return self._entries.get((scope, exact))

    def hides(self, entry: Entry) -> bool:
        """Whether an entry waits to be removed; one that a word selects might be."""
        return any(removal.selection.matches(entry) for removal in self._removals)

    def first(self, limit: int) -> list[Write]:
        """What is to be done next; all of it may be done at once."""
        found: list[Write] = []
        keys: set[bytes] = set()
        for write in self._writes:
            here = set(_keys(write))
            if len(found) == limit or keys & here or (found and not here):
                break
            found.append(write)
            keys |= here
            if not here:
                break
        return found

    def done(self, writes: Sequence[Write]) -> None:
        """The first, as `first` told them, are done or will never be; what was given up meanwhile is not here."""
        for write in writes:
            if not self._writes or self._writes[0] is not write:
                return
            self._writes.popleft()
            self.size_bytes -= write.size_bytes
            if isinstance(write, Remove):
                self._removals.popleft()
            elif isinstance(write, Put):
                key = (write.entry.scope, write.entry.exact)
                if self._entries.get(key) is write.entry:
                    del self._entries[key]

    def _append(self, write: Write) -> None:
        self._writes.append(write)
        self.size_bytes += write.size_bytes


def _keys(write: Write) -> Iterator[bytes]:
    """What must not be touched by two writes at once; none of what touches anything."""
    if isinstance(write, Put):
        yield write.entry.scope + write.entry.exact
        yield write.entry.scope + write.entry.id.encode()
        if write.entry.alias_of is not None:
            yield write.entry.scope + write.entry.alias_of.encode()
    elif isinstance(write, Vector):
        yield write.row.scope + write.row.id.encode()
