"""Writes that wait while Redis is away: in order, within a bound of bytes, done when it is back.

A put that does not fit is refused, and its caller hears of it. A removal is never refused: when too many wait, all of
them, and everything before them, become one: remove whatever was made until now. What waits to be removed is hidden
from every read.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from gateway.answers.base import Entry, Unembedded
from gateway.answers.selection import Selection

MAX_REMOVALS = 1000
SMALL_BYTES = 512  # of anything but an entry or a vector


@dataclass(frozen=True, slots=True)
class Put:
    entry: Entry
    size_bytes: int


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
    selection: Selection  # bounded by the moment it was asked for
    size_bytes: int = SMALL_BYTES


Write: TypeAlias = Put | Vector | Remove


class Behind:
    """The queue. Belongs to one event loop."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._writes: deque[Write] = deque()
        self.size_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, write: Put | Vector) -> bool:
        """Let `write` wait; False when there is no room."""
        if self.size_bytes + write.size_bytes > self._budget_bytes:
            self.dropped += 1
            return False
        self._append(write)
        return True

    def remove(self, selection: Selection, now_s: float) -> None:
        """Let a removal wait; there is always room."""
        bounded = until(selection, now_s)
        if sum(isinstance(write, Remove) for write in self._writes) >= MAX_REMOVALS:
            self.dropped += sum(not isinstance(write, Remove) for write in self._writes)
            self._writes.clear()
            self.size_bytes = 0
            bounded = Selection(before_s=now_s)
        self._append(Remove(bounded))

    def find(self, scope: bytes, exact: bytes) -> Entry | None:
        """What waits to be put here."""
        found: Entry | None = None
        for write in self._writes:
            if isinstance(write, Put) and (write.entry.scope, write.entry.exact) == (scope, exact):
                found = write.entry
            elif isinstance(write, Remove) and found is not None and write.selection.matches(found):
                found = None
        return found

    def hides(self, entry: Entry) -> bool:
        """Whether an entry waits to be removed; one that a word selects might be."""
        return any(isinstance(write, Remove) and write.selection.matches(entry) for write in self._writes)

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

    def done(self, num: int) -> None:
        """The first so many are done, or will never be."""
        for _ in range(num):
            self.size_bytes -= self._writes.popleft().size_bytes

    def _append(self, write: Write) -> None:
        self._writes.append(write)
        self.size_bytes += write.size_bytes


def until(selection: Selection, now_s: float) -> Selection:
    """What of it was made until now."""
    before_s = now_s if selection.before_s is None else min(selection.before_s, now_s)
    return replace(selection, before_s=before_s)


def _keys(write: Write) -> Iterator[bytes]:
    """What must not be touched by two writes at once; none of what touches anything."""
    if isinstance(write, Put):
        yield write.entry.scope + write.entry.exact
        yield write.entry.scope + write.entry.id.encode()
        if write.entry.alias_of is not None:
            yield write.entry.scope + write.entry.alias_of.encode()
    elif isinstance(write, Vector):
        yield write.row.scope + write.row.id.encode()
