"""A number beside the store that every process on it can see: it rises whenever answers were removed on purpose.

What is in memory was read from the file, and another process cannot reach it: so every look there compares two numbers
first. They lie in shared memory, eight bytes of a file mapped by all: a look costs a tenth of a microsecond and no call
into the system. The number rises behind the commit and before anybody hears of the removal; who starts raises it, too,
for a process that died between the two.
"""

import fcntl
import mmap
import os
from pathlib import Path

SIZE = 8


class Generation:
    """The number in the file `path`. One thread raises it, another one may look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._map: mmap.mmap | None = None
        self._known = b""

    def open(self) -> None:
        """Raises `OSError`."""
        self.close()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size != SIZE:
            os.ftruncate(self._file, SIZE)
        self._map = mmap.mmap(self._file, SIZE)
        self.rise()
        self._known = self._map[:SIZE]

    def close(self) -> None:
        """Nobody else's removals are seen from now on."""
        if self._map is not None:
            self._map.close()
            os.close(self._file)
        self._map, self._file = None, -1

    def rise(self) -> None:
        """Answers were removed: who has them in memory must read them anew. We know already."""
        if self._map is None:
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            before = self._map[:SIZE]
            number = int.from_bytes(before, "little") + 1
            self._map[:SIZE] = after = (number % 2 ** (8 * SIZE)).to_bytes(SIZE, "little")
            if before == self._known:  # else somebody else's removal is still to be heard of
                self._known = after
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def has_risen(self) -> bool:
        """Whether somebody else raised it since this was asked last."""
        if self._map is None or (now := self._map[:SIZE]) == self._known:
            return False
        self._known = now
        return True
