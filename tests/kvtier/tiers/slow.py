"""A tier in memory that takes its time, waits when told to, and fails when told to."""

import threading
import time
from collections.abc import Iterator, Sequence

from kvtier.tiers.base import Found, Restored, Rows, Segment, TierError, Wanted
from kvtier.tiers.index import Entry, SegmentIndex
from tests.kvtier.rows import SMALL


class SlowTier:
    """Loads take `load_s` per segment; nothing moves while `gate` is not set."""

    name = "disk"

    def __init__(self, *, load_s: float = 0.0, is_remote: bool = False) -> None:
        self.is_remote = is_remote
        self.load_s = load_s
        self.is_broken = False
        self.refuses_erasures = False
        self.gate = threading.Event()
        self.gate.set()
        self.given = 0  # segments that came back
        self.saved: list[Segment] = []
        self.rows: dict[bytes, Rows] = {}
        self._index = SegmentIndex(SMALL.block_tokens)

    def find(self, wanted: Wanted) -> Sequence[Found]:
        return self._index.find(wanted)

    def load(self, wanted: Wanted, run: Sequence[Found]) -> Iterator[Restored]:
        for found in run:
            self.gate.wait()
            time.sleep(self.load_s)
            if self.is_broken:
                raise TierError("broken")
            entry = self._index.get(found.key)
            assert entry is not None
            self.given += 1
            yield Restored(self.name, found.start, found.stop, len(entry.packed) // 4, self.rows[found.key])

    def holds(self, segment: Segment) -> bool:
        return self._index.covers(segment.parent, segment.packed)

    def save(self, segment: Segment, rows: Rows) -> bool:
        self.gate.wait()
        if self.is_broken:
            raise TierError("broken")
        self.saved.append(segment)
        self.rows[segment.key] = rows.copy()
        self._index.add(Entry(segment.key, segment.parent, segment.packed, segment.start, rows.size, segment.owner))
        return True

    def clear(self) -> None:
        if self.is_broken:
            raise TierError("broken")
        self._index.clear()

    def erase(self, owner: str) -> int:
        if self.is_broken or self.refuses_erasures:
            raise TierError("broken")
        doomed = self._index.of((owner,))
        for entry in doomed:
            self._index.remove(entry.key)
        return len(doomed)

    def snapshot(self) -> dict[str, int]:
        return {"segments": len(self._index)}

    def close(self) -> None:
        self.gate.set()
