"""Names of entries by the key of their bare form, in one piece of bytes: some 80 bytes an entry, and no objects.

    a row     name (16)   key (16)   number (6)   id, filled up
    places    rows by name, and by key (`embeddings.index.slots`); the last row goes into the hole that another leaves

Dicts of the same take five times as much, and the garbage collector's time.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from embeddings.index.slots import Slots
from gateway.semantic.kept_forms import NO_FORM, SIZE

MOST_SAME = 64  # entries of one form that are found by it: the newest
NO_BYTE = b"\xff"  # after an id: no text has such a byte
_NUMBER = slice(2 * SIZE, 2 * SIZE + 6)
_HEAD = 2 * SIZE + 6


class Forms:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._rows = bytearray()
        self._width = _HEAD + 26
        self._size = 0
        self._number = 0  # of the next: who came later is the newer
        self._by_name = Slots()
        self._by_key = Slots()

    def __len__(self) -> int:
        return self._size

    def __contains__(self, name: bytes) -> bool:
        return self._find(name) is not None

    def put(self, name: bytes, key: bytes, id: str) -> None:
        """Remember an entry, in the place of what had its name."""
        self.drop(name)
        spelled = id.encode("utf-8", "surrogatepass")
        if _HEAD + len(spelled) > self._width:
            self._widen(_HEAD + len(spelled))
        row = name + key + self._number.to_bytes(6, "big") + spelled
        self._rows += row.ljust(self._width, NO_BYTE)
        self._by_name.add(_hashed(name), self._size)
        if key != NO_FORM:
            if len(same := self._by_key.find(_hashed(key))) >= MOST_SAME:
                self._blank(min(same, key=lambda at: self._row(at)[_NUMBER]))
            self._by_key.add(_hashed(key), self._size)
        self._size += 1
        self._number += 1

    def drop(self, name: bytes) -> bool:
        """Forget an entry; False when it is not here."""
        hole = self._find(name)
        if hole is None:
            return False
        self._unlink(hole)
        self._size -= 1
        if hole != self._size:
            last = self._row(self._size)
            self._rows[hole * self._width : (hole + 1) * self._width] = last
            self._by_name.move(_hashed(last[:SIZE]), self._size, hole)
            if (key := last[SIZE : 2 * SIZE]) != NO_FORM:
                self._by_key.move(_hashed(key), self._size, hole)
        del self._rows[self._size * self._width :]
        return True

    def newest(self, key: bytes, most: int) -> list[str]:
        """Ids of entries with this key, the newest first."""
        rows = [row for at in self._by_key.find(_hashed(key)) if (row := self._row(at))[SIZE : 2 * SIZE] == key]
        rows.sort(key=lambda row: row[_NUMBER], reverse=True)
        return [row[_HEAD:].rstrip(NO_BYTE).decode("utf-8", "surrogatepass") for row in rows[:most]]

    def pairs(self) -> bytes:
        """Name and key of every entry, one after the other."""
        rows = np.frombuffer(bytes(self._rows), np.uint8).reshape(self._size, self._width)
        return rows[:, : 2 * SIZE].tobytes()

    def _row(self, at: int) -> bytes:
        return bytes(self._rows[at * self._width : (at + 1) * self._width])

    def _find(self, name: bytes) -> int | None:
        for at in self._by_name.find(_hashed(name)):
            if self._rows.startswith(name, at * self._width):
                return at
        return None

    def _unlink(self, at: int) -> None:
        row = self._row(at)
        self._by_name.remove(_hashed(row[:SIZE]), at)
        if (key := row[SIZE : 2 * SIZE]) != NO_FORM:
            self._by_key.remove(_hashed(key), at)

    def _blank(self, at: int) -> None:
        """Find an entry by its name alone."""
        start = at * self._width + SIZE
        self._by_key.remove(_hashed(self._rows[start : start + SIZE]), at)
        self._rows[start : start + SIZE] = NO_FORM

    def _widen(self, width: int) -> None:
        """Make room for longer ids: seldom more than once."""
        rows = (self._row(at).ljust(width, NO_BYTE) for at in range(self._size))
        self._rows, self._width = bytearray(b"".join(rows)), width


class Known:
    """Keys by name, of another time. Does not change."""

    def __init__(self, pairs: bytes = b"") -> None:
        rows = np.frombuffer(pairs, np.uint64).reshape(-1, 4)
        self._rows = rows[np.argsort(rows[:, 0])]  # by the first half of a name

    def keys_of(self, names: Sequence[bytes]) -> Iterator[bytes | None]:
        """The key of each; None of one that is not known."""
        if not len(self._rows):
            return iter([None] * len(names))
        asked = np.frombuffer(b"".join(names), np.uint64).reshape(-1, 2)
        at = np.minimum(np.searchsorted(self._rows[:, 0], asked[:, 0]), len(self._rows) - 1)
        found = self._rows[at]
        are_known = (found[:, :2] == asked).all(axis=1)
        return (row[2:].tobytes() if is_known else None for row, is_known in zip(found, are_known, strict=True))


def _hashed(digest: bytes | bytearray) -> int:
    return int.from_bytes(digest[:4], "little")
