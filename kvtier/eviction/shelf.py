"""Exposed blocks in order of a rank: both ends at hand, O(log n) each.

Two heaps that forget lazily: an entry counts only while it is the block's present one. They are rebuilt when most of
their entries are stale.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

Rank = tuple[float, ...]
SLACK = 64


class Shelf:
    """Blocks by rank. Equal ranks go by block id, so equal operations give equal orders."""

    __slots__ = ("_high", "_low", "_ranks")

    def __init__(self) -> None:
        self._ranks: dict[int, Rank] = {}
        self._low: list[tuple[Rank, int]] = []
        self._high: list[tuple[Rank, int]] = []  # negated

    def __len__(self) -> int:
        return len(self._ranks)

    def put(self, block: int, rank: Rank) -> None:
        self._ranks[block] = rank
        if len(self._low) > 4 * len(self._ranks) + SLACK or len(self._high) > 4 * len(self._ranks) + SLACK:
            self._rebuild()
        else:
            heappush(self._low, (rank, block))
            heappush(self._high, (_negated(rank), block))

    def remove(self, block: int) -> None:
        self._ranks.pop(block, None)

    def lowest(self) -> tuple[Rank, int] | None:
        """The block of the lowest rank, which stays."""
        return self._top(self._low, lambda rank: rank)

    def highest(self) -> tuple[Rank, int] | None:
        """The block of the highest rank, which stays."""
        return self._top(self._high, _negated)

    def _top(self, heap: list[tuple[Rank, int]], rank_of: Callable[[Rank], Rank]) -> tuple[Rank, int] | None:
        while heap:
            rank, block = rank_of(heap[0][0]), heap[0][1]
            if self._ranks.get(block) == rank:
                return rank, block
            heappop(heap)
        return None

    def _rebuild(self) -> None:
        self._low = [(rank, block) for block, rank in self._ranks.items()]
        self._high = [(_negated(rank), block) for block, rank in self._ranks.items()]
        heapify(self._low)
        heapify(self._high)


def _negated(rank: Rank) -> Rank:
    return tuple(-part for part in rank)
