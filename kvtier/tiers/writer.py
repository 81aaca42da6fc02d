"""One thread per tier that writes what it is handed, from a queue of bounded bytes."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from kvtier.tiers.base import Rows, Segment, Tier, TierError

CLEAR_AGAIN_S = 1.0
ERASE_AGAIN_MOST_S = 60.0  # between two tries of an erasure, which begin a second apart

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Erasure:
    """What is to be forgotten of an owner, and what came of it; read by whoever asked, written by the thread."""

    owner: str  # the mark
    count: int = 0
    tries: int = 0
    is_done: bool = False


class Writer:
    """Takes segments, head of a chain first, and saves them one after the other."""

    def __init__(self, tier: Tier, queue_bytes: int) -> None:
        self.tier = tier
        self._queue_bytes = queue_bytes
        self._queue: deque[tuple[Segment, Rows]] = deque()
        self._queued: dict[bytes, int] = {}  # keys in the queue or being written
        self._num_bytes = 0
        self._is_closed = False
        self._clears = False
        self._erasures: deque[Erasure] = deque()
        self._erase_at_s = 0.0  # the next try is not before this moment
        self._changed = threading.Condition()
        self.num_dropped = 0
        self.num_failed = 0
        self._failed_at_a_stretch = 0
        self._thread = threading.Thread(target=self._run, name=f"kv-{tier.name}-write", daemon=True)
        self._thread.start()

    def has_room(self, num_bytes: int) -> bool:
        """Whether so many bytes may be queued; one segment always may when nothing else is."""
        with self._changed:
            return not self._num_bytes or self._num_bytes + num_bytes <= self._queue_bytes

    @property
    def is_clearing(self) -> bool:
        """Whether what the tier seems to hold is about to be forgotten."""
        with self._changed:
            return self._clears

    def holds(self, segment: Segment) -> bool:
        """Whether the tier holds a segment, or will when the queue is written."""
        with self._changed:
            if segment.key in self._queued:
                return True
            if self._clears:
                return False
        return self.tier.holds(segment)

    def offer(self, segment: Segment, rows: Rows) -> bool:
        """Queue a segment; False, and counted, when there is no room. Never waits."""
        with self._changed:
            if self._is_closed or (self._num_bytes and self._num_bytes + rows.size > self._queue_bytes):
                self.num_dropped += 1
                return False
            self._queue.append((segment, rows))
            self._queued[segment.key] = self._queued.get(segment.key, 0) + 1
            self._num_bytes += rows.size
            self._changed.notify_all()
            return True

    def wait_for_room(self, num_bytes: int, timeout_s: float) -> bool:
        """Wait until so many bytes may be queued; returns whether they may."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._num_bytes or self._num_bytes + num_bytes <= self._queue_bytes, timeout_s
            )

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything queued is written or has failed; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._queued or self._clears or self._erasures), timeout_s)

    def clear(self) -> None:
        """Forget what is queued, and have the thread clear the tier next."""
        with self._changed:
            for segment, rows in self._queue:
                self._leave(segment, rows)
            self._queue.clear()
            self._clears = True
            self._changed.notify_all()

    def erase(self, owner: str) -> Erasure:
        """Forget what is queued under a mark, and have the thread erase it from the tier next, however often it takes;
        what comes of it is told in what is returned. While the tier refuses, what others want kept is written."""
        with self._changed:
            kept = [item for item in self._queue if item[0].owner != owner]
            for item in self._queue:
                if item[0].owner == owner:
                    self._leave(*item)
            self._queue = deque(kept)
            erasure = next((one for one in islice(self._erasures, 1, None) if one.owner == owner), None)
            if erasure is None:  # one that is not begun will find what is there now, too
                erasure = Erasure(owner)
                self._erasures.append(erasure)
                self._erase_at_s = 0.0
            self._changed.notify_all()
        return erasure

    def close(self, timeout_s: float) -> None:
        """Write what is queued within the time, drop the rest, end the thread."""
        until = time.monotonic() + timeout_s
        self.flush(timeout_s)
        with self._changed:
            self._is_closed = True
            self.num_dropped += len(self._queue)
            for segment, rows in self._queue:
                self._leave(segment, rows)
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(max(0.1, until - time.monotonic()))

    def _run(self) -> None:
        while (work := self._next()) is not None:
            if work == "clear":
                if not self._clear():
                    return
                continue
            if isinstance(work, Erasure):
                self._erase(work)
                continue
            item = work
            try:
                if self.tier.save(*item):
                    self._works()
            except TierError as error:
                self._fails(str(error))
            finally:
                with self._changed:
                    self._leave(*item)
                    self._changed.notify_all()

    def _next(self) -> 'Literal["clear"] | Erasure | tuple[Segment, Rows] | None':
        """What to do now; waits for it. None at the end."""
        with self._changed:
            while True:
                if self._clears:
                    return "clear"
                wait_s = self._erase_at_s - time.monotonic() if self._erasures else None
                if wait_s is not None and wait_s <= 0:
                    return self._erasures[0]
                if self._queue:
                    return self._queue.popleft()
                if self._is_closed:
                    return None
                self._changed.wait(wait_s)

    def _clear(self) -> bool:
        """Clear the tier, however often it takes: until then it is neither read nor written. False at the end."""
        try:
            self.tier.clear()
        except TierError as error:
            self._fails(f"not cleared yet: {error}")
            with self._changed:
                return not self._changed.wait_for(lambda: self._is_closed, CLEAR_AGAIN_S)
        self._works()
        with self._changed:
            self._clears = False
            self._changed.notify_all()
        return True

    def _erase(self, erasure: Erasure) -> None:
        """Erase from the tier, or later: what it keeps of others goes on being written."""
        try:
            erasure.count = self.tier.erase(erasure.owner)
        except TierError as error:
            erasure.tries += 1
            self._fails(f"not erased yet: {error}")
            again_s = min(CLEAR_AGAIN_S * 2 ** min(erasure.tries - 1, 10), ERASE_AGAIN_MOST_S)
            with self._changed:
                self._erase_at_s = time.monotonic() + again_s
            return
        self._works()
        with self._changed:
            self._erase_at_s = 0.0
            erasure.is_done = True
            self._erasures.popleft()
            self._changed.notify_all()

    def _fails(self, why: str) -> None:
        """Count it; said once, for a tier that is away fails many times."""
        self.num_failed += 1
        if not self._failed_at_a_stretch:
            log.warning("%s: %s; going on without it", self.tier.name, why)
        self._failed_at_a_stretch += 1

    def _works(self) -> None:
        if self._failed_at_a_stretch:
            log.warning("%s: works again after %d failures", self.tier.name, self._failed_at_a_stretch)
            self._failed_at_a_stretch = 0

    def _leave(self, segment: Segment, rows: Rows) -> None:
        self._num_bytes -= rows.size
        self._queued[segment.key] -= 1
        if not self._queued[segment.key]:
            del self._queued[segment.key]
