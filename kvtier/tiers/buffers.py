"""Memory for the rows of a segment, used again: the first touch of fresh pages costs more than reading a file does.

Reading 47 MB out of the page cache takes 8 ms into used memory and 21 ms into fresh memory.
"""

import weakref
from collections import deque

import numpy as np

from kvtier.tiers.base import Rows


class Buffers:
    """Lends memory that comes back by itself when the object that uses it is gone. Threads may share it: what is kept
    is a deque, whose operations are atomic, for a lock could be asked for twice by a collection in the middle."""

    def __init__(self, segment_bytes: int, keep_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        self._kept: deque[Rows] = deque(maxlen=max(2, keep_bytes // max(1, segment_bytes)))

    def take(self, num_bytes: int) -> Rows:
        """Memory of at least so many bytes, with anything in it; small pieces are not worth keeping."""
        if not self._segment_bytes // 4 < num_bytes <= self._segment_bytes:
            return np.empty(num_bytes, np.uint8)
        try:
            return self._kept.pop()
        except IndexError:
            return np.empty(self._segment_bytes, np.uint8)

    def warm(self, num_bytes: int) -> None:
        """Touch as much memory as so many bytes will need, within what is kept, before somebody waits for it."""
        for _ in range(min(-(-num_bytes // self._segment_bytes), self._kept.maxlen or 0)):
            self._kept.append(np.full(self._segment_bytes, 0, np.uint8))

    def give_back_after(self, user: object, memory: Rows) -> None:
        """Take memory back when `user` is gone; nothing else may look at it by then."""
        if memory.size == self._segment_bytes:
            weakref.finalize(user, self._kept.append, memory).atexit = False
