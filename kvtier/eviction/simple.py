"""Policies of one rank: `lru`, `lfu`, `random`."""

from collections.abc import Sequence
from random import Random

from kvtier.eviction.policy import Facts
from kvtier.eviction.shelf import Rank, Shelf


class _Ranked:
    """Evicts the exposed block of the lowest rank."""

    def __init__(self) -> None:
        self._now = 0
        self._facts: dict[int, Facts] = {}
        self._used: dict[int, int] = {}
        self._shelves: dict[str, Shelf] = {}

    def add(self, block: int, facts: Facts) -> None:
        self._now += 1
        self._facts[block] = facts
        self._used[block] = self._now

    def hit(self, path: Sequence[int]) -> None:
        self._now += len(path)

    def settle(self, path: Sequence[int], num_answered: int | None = None) -> None:  # noqa: ARG002
        self._now += 1
        for block in path:
            if block in self._used:
                self._used[block] = self._now

    def expose(self, block: int) -> None:
        shelf = self._shelves.setdefault(self._facts[block].owner, Shelf())
        shelf.put(block, self._rank(block))

    def hide(self, block: int) -> None:
        shelf = self._shelves.get(self._facts[block].owner)
        if shelf is not None:
            shelf.remove(block)

    def victim(self, owner: str | None) -> int | None:
        shelves = self._shelves.values() if owner is None else [self._shelves.get(owner, Shelf())]
        lows = [low for low in (shelf.lowest() for shelf in shelves) if low is not None]
        return min(lows)[1] if lows else None

    def drop(self, block: int) -> None:
        owner = self._facts.pop(block).owner
        del self._used[block]
        if not self._shelves.get(owner, ()):
            self._shelves.pop(owner, None)

    def _rank(self, block: int) -> Rank:
        return (self._used[block],)


class Lru(_Ranked):
    """Least recently used first."""


class Lfu(_Ranked):
    """Least often found first, then least recently used."""

    def __init__(self) -> None:
        super().__init__()
        self._hits: dict[int, int] = {}

    def hit(self, path: Sequence[int]) -> None:
        super().hit(path)
        for block in path:
            self._hits[block] = self._hits.get(block, 0) + 1

    def drop(self, block: int) -> None:
        super().drop(block)
        self._hits.pop(block, None)

    def _rank(self, block: int) -> Rank:
        return (self._hits.get(block, 0), self._used[block])


class RandomOrder(_Ranked):
    """Any leaf, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._draw = Random(seed)  # noqa: S311 - equal seeds evict equally; nothing is secret

    def _rank(self, block: int) -> Rank:  # noqa: ARG002
        return (self._draw.random(),)
