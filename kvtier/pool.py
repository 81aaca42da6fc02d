"""Who holds which block: counts only, no tensors and no tokens.

A block is in exactly one state, and the three counts always add up to the total:

    free     holds nothing                        next to be allocated
    cached   holds a kept prefix, nobody uses it  allocated when nothing is free, least recently used first
    leased   somebody uses it                     never allocated, never written

Leaf first: whoever touches a block touches every block before it in the chain, and lets go of them last to first. So in
the queue of cached blocks a child always stands before its parent, and the head of the queue is always a leaf.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Blocks by state."""

    total: int
    free: int
    cached: int
    leased: int


class BlockPool:
    """Hands out block ids 0..num_blocks-1."""

    def __init__(self, num_blocks: int) -> None:
        self._free = list(range(num_blocks - 1, -1, -1))  # a stack: low ids first, so untouched memory stays untouched
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._refs = [0] * num_blocks
        self._kept = [False] * num_blocks
        self._num_leased = 0

    @property
    def occupancy(self) -> Occupancy:
        return Occupancy(len(self._refs), len(self._free), len(self._cached), self._num_leased)

    @property
    def cached_blocks(self) -> Iterable[int]:
        """Cached blocks in the order in which they would be evicted."""
        return self._cached.keys()

    def is_leased(self, block: int) -> bool:
        return self._refs[block] > 0

    def is_kept(self, block: int) -> bool:
        return self._kept[block]

    def take_free(self) -> int | None:
        """A free block, leased to the caller; None when there is none."""
        return self._lease(self._free.pop()) if self._free else None

    def take_cached(self) -> int | None:
        """The least recently used cached block, forgotten and leased to the caller; None when all are leased."""
        if not self._cached:
            return None
        block, _ = self._cached.popitem(last=False)
        self._kept[block] = False
        return self._lease(block)

    def keep(self, block: int) -> None:
        """Cache a leased block once its last holder lets go, instead of freeing it."""
        if not self._refs[block]:
            raise RuntimeError(f"block {block} is kept without being leased")
        self._kept[block] = True

    def forget(self, block: int) -> None:
        """Free a kept block now, or when its last holder lets go."""
        self._kept[block] = False
        if block in self._cached:
            del self._cached[block]
            self._free.append(block)

    def pin(self, path: Sequence[int]) -> None:
        """Lease the blocks of a chain, first block first."""
        for block in path:
            if self._refs[block]:
                self._refs[block] += 1
            else:
                del self._cached[block]
                self._lease(block)

    def unpin(self, path: Sequence[int]) -> list[int]:
        """Let go of the blocks of a chain, last to first; returns those that became free."""
        freed = []
        for block in reversed(path):
            if self._refs[block] < 1:
                raise RuntimeError(f"block {block} is let go of more often than it was leased")
            self._refs[block] -= 1
            if self._refs[block]:
                continue
            self._num_leased -= 1
            if self._kept[block]:
                self._cached[block] = None
            else:
                self._free.append(block)
                freed.append(block)
        return freed

    def check(self) -> None:
        """Raise RuntimeError with the equation when the three states do not add up."""
        leased = {block for block, refs in enumerate(self._refs) if refs}
        free, cached, total = len(self._free), len(self._cached), len(self._refs)
        distinct = len(leased.union(self._free, self._cached))
        if free + cached + self._num_leased != total or distinct != total or len(leased) != self._num_leased:
            raise RuntimeError(
                f"free {free} + cached {cached} + leased {self._num_leased} != {total} "
                f"({len(leased)} with references, {distinct} distinct)"
            )

    def _lease(self, block: int) -> int:
        self._refs[block] = 1
        self._num_leased += 1
        return block
