"""A number beside the store that every process on it can see: it rises whenever answers were removed on purpose.

What is in memory was read from the file, and another process cannot reach it: so every look there compares two numbers
first. It lies in eight bytes of a file that all of them keep open: a look is one `pread`, less than a microsecond. (A
mapping would be faster, but whoever copies a backup over a mapped file kills all who read it.) The number rises behind
the commit and before anybody hears of the removal; who starts raises it, too, for a process that died between the two.
It is the time, so that none comes back with a backup.

Whatever is odd about the file (it is short, it is gone, another one took its place) counts as risen, and the one at the
path is taken from then on. That it is gone shows within `CHECK_S`.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

SIZE = 8
CHECK_S = 1.0  # between two looks at what is at the path


class Generation:
    """The number in the file `path`. One thread raises it, another one may look."""

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()  # of the descriptor; who only looks goes without: nonsense counts as risen
        self._is_open = False
        self._file = -1
        self._known: bytes | None = None
        self._check_s = 0.0

    def open(self) -> None:
        """Raises `OSError`."""
        self.close()
        with self._lock:
            self._take()
            self._write_next()
            self._known = os.pread(self._file, SIZE, 0)
            self._is_open = True
            self._check_s = self._now() + CHECK_S

    def close(self) -> None:
        """Nobody else's removals are seen from now on."""
        with self._lock:
            self._is_open = False
            self._drop()

    def rise(self) -> None:
        """Answers were removed: who has them in memory must read them anew. We know already."""
        with self._lock:
            if not self._is_open:
                return
            try:
                if self._is_in_place():
                    self._write_next()
                if not self._is_in_place():
                    self._take()
                    self._write_next()
            except OSError as error:
                self._known = None
                log.warning("who else has %s open may not hear of a removal: %s", self._path, error)

    def has_risen(self) -> bool:
        """Whether somebody else raised it, or may have, since this was asked last."""
        if not self._is_open:
            return False
        now_s = self._now()
        try:
            number = os.pread(self._file, SIZE, 0)
        except OSError:
            number = b""
        if number == self._known and now_s < self._check_s:
            return False
        return self._has_risen(number, now_s)

    def _has_risen(self, number: bytes, now_s: float) -> bool:
        """As above, when there is something to look at closely."""
        if len(number) == SIZE and self._is_in_place():
            self._check_s = now_s + CHECK_S
            known, self._known = self._known, number
            return number != known
        is_taken = self._file < 0 and now_s < self._check_s  # tried lately, in vain
        if not is_taken and self._lock.acquire(blocking=False):  # else whoever has it waits for another process
            try:
                self._check_s = now_s + CHECK_S
                self._take()
                self._known = os.pread(self._file, SIZE, 0)
            except OSError as error:
                log.warning("nothing stays in memory: %s cannot be read: %s", self._path, error)
            finally:
                self._lock.release()
        return True

    # -- the descriptor, under the lock ------------------------------------------------------------------------------

    def _take(self) -> None:
        """Open what is at the path, or make it. Raises `OSError`."""
        self._drop()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size != SIZE:
            os.pwrite(self._file, _after(b""), 0)
            os.ftruncate(self._file, SIZE)

    def _drop(self) -> None:
        file, self._file, self._known = self._file, -1, None
        if file >= 0:
            os.close(file)

    def _is_in_place(self) -> bool:
        """Whether our file is the one at the path."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def _write_next(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            before = os.pread(self._file, SIZE, 0)
            os.pwrite(self._file, after := _after(before), 0)
            if before == self._known:  # else somebody else's removal is still to be heard of
                self._known = after
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _after(before: bytes) -> bytes:
    """A number that never was there."""
    number = max(int.from_bytes(before, "little") + 1, time.time_ns())
    return int.to_bytes(number % 2 ** (8 * SIZE), SIZE, "little")
