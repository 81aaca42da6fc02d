"""Which segments a tier holds: a tree of segments, and the order in which they were last used. Pure; not thread-safe.

A segment hangs on the key that ends the one before it. The segments on one key are sorted by their token ids, so the
one that shares most of a prompt is a neighbour of the place where the prompt would stand: a prefix that ends inside a
segment is found too, to the token.

Whoever uses a segment uses all before it in the chain, and in the order of use a segment stands before its parent: the
one used longest ago is always a leaf.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from kvtier.keys import ID_BYTES, count_common_ids
from kvtier.tiers.base import Found, Wanted


@dataclass(frozen=True, slots=True)
class Entry:
    """A segment that is held: where it hangs, its token ids, its first token and its size."""

    key: bytes
    parent: bytes
    packed: bytes
    start: int
    num_bytes: int
    owner: str = ""


class SegmentIndex:
    """Segments by key, by parent and by use."""

    def __init__(self, block_tokens: int) -> None:
        self._block_ids_bytes = block_tokens * ID_BYTES
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()  # used longest ago first
        self._children: dict[bytes, list[tuple[bytes, bytes]]] = {}  # packed ids and key, sorted by the ids
        self.num_bytes = self.num_blocks = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: bytes) -> Entry | None:
        return self._entries.get(key)

    def find(self, wanted: Wanted) -> list[Found]:
        """The run of segments that holds the rows from `wanted.start` on."""
        run: list[Found] = []
        at, reached = wanted.first, wanted.start
        while at < wanted.stop:
            ids = wanted.ids(at)
            nearest = self._nearest(wanted.parent(at), ids)
            if nearest is None or at + nearest[1] <= reached:
                break
            entry, num_common = nearest
            reached = at + num_common
            run.append(Found(entry.key, at, reached, entry.num_bytes))
            if num_common < wanted.segment_tokens:
                break
            at += wanted.segment_tokens
        return run

    def covers(self, parent: bytes, packed: bytes) -> bool:
        """Whether a segment on `parent` begins with all of `packed`."""
        nearest = self._nearest(parent, packed)
        return nearest is not None and nearest[1] * ID_BYTES == len(packed)

    def add(self, entry: Entry) -> list[Entry]:
        """Hold a segment as the one used last; returns those it takes the place of, which are held no longer."""
        replaced = [old] if (old := self._entries.get(entry.key)) is not None else []
        siblings = self._children.get(entry.parent, [])
        at = bisect_left(siblings, (entry.packed,))
        if at and entry.packed.startswith(siblings[at - 1][0]) and siblings[at - 1][1] != entry.key:
            replaced.append(self._entries[siblings[at - 1][1]])
        for old in replaced:
            self.remove(old.key)
        self._entries[entry.key] = entry
        insort(self._children.setdefault(entry.parent, []), (entry.packed, entry.key))
        self._count(entry, 1)
        self.touch(entry.parent)
        return replaced

    def remove(self, key: bytes) -> Entry | None:
        """Forget a segment; what hangs on it stays, to be found again when it comes back."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        siblings = self._children[entry.parent]
        del siblings[bisect_left(siblings, (entry.packed, key))]
        if not siblings:
            del self._children[entry.parent]
        self._count(entry, -1)
        return entry

    def touch(self, key: bytes) -> None:
        """Make a segment, and then each before it in the chain, the one used last."""
        entry = self._entries.get(key)
        while entry is not None:
            self._entries.move_to_end(entry.key)
            entry = self._entries.get(entry.parent) if entry.start else None

    def oldest(self) -> Entry | None:
        """The leaf used longest ago."""
        return next(iter(self._entries.values()), None)

    def of(self, owners: Container[str]) -> list[Entry]:
        """The segments of these owners."""
        return [entry for entry in self if entry.owner in owners]

    def clear(self) -> None:
        self._entries.clear()
        self._children.clear()
        self.num_bytes = self.num_blocks = 0

    def rebuild(self, found: Iterable[tuple[float, Entry]]) -> list[Entry]:
        """Hold segments with the times of their last use, beside what is held; returns those that another covers."""
        used = {entry.key: (time, entry) for time, entry in found if entry.key not in self._entries}
        for time, entry in sorted(used.values(), key=lambda pair: -pair[1].start):
            if entry.parent in used and used[entry.parent][0] < time:
                used[entry.parent] = (time, used[entry.parent][1])
        newer = list(self._entries)
        covered = []
        for _, entry in sorted(used.values(), key=lambda pair: (pair[0], -pair[1].start)):
            if self.covers(entry.parent, entry.packed):
                covered.append(entry)
            else:
                covered += self.add(entry)
        for key in newer:
            if key in self._entries:
                self._entries.move_to_end(key)
        return covered

    def check(self) -> None:
        """Raise RuntimeError when a count is wrong, or a segment would be evicted after its parent."""
        listed = sum(map(len, self._children.values()))
        held = sum(entry.num_bytes for entry in self)
        if listed != len(self) or held != self.num_bytes:
            raise RuntimeError(f"segments {len(self)} != listed {listed}, or bytes {self.num_bytes} != {held}")
        gone: set[bytes] = set()
        for entry in self:
            if entry.start and entry.parent in gone:
                raise RuntimeError(f"a segment at token {entry.start} would be evicted after its parent")
            gone.add(entry.key)

    def _count(self, entry: Entry, sign: int) -> None:
        self.num_bytes += sign * entry.num_bytes
        self.num_blocks += sign * -(-len(entry.packed) // self._block_ids_bytes)

    def _nearest(self, parent: bytes, packed: bytes) -> tuple[Entry, int] | None:
        siblings = self._children.get(parent, [])
        at = bisect_left(siblings, (packed,))
        best = max(
            ((count_common_ids(ids, packed), key) for ids, key in siblings[max(at - 1, 0) : at + 1]), default=(0, b"")
        )
        return (self._entries[best[1]], best[0]) if best[0] else None
