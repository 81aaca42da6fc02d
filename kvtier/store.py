"""Blocks with their content: the pool, the index and the arena changed together, so that they never disagree.

Invariants, stated by `check`:
- free + cached + leased == total;
- a kept block is never written: to replace it, another block is filled first and the old one forgotten;
- a chain is never broken in the middle: children are evicted before their parents.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kvtier.arena import KVArena
from kvtier.eviction.policy import Facts, Policy
from kvtier.geometry import KVGeometry
from kvtier.keys import ID_BYTES
from kvtier.pool import BlockPool, Occupancy
from kvtier.prefix import Node, PrefixIndex
from kvtier.stats import EvictedKeys, KVStats
from kvtier.survey import Survey
from kvtier.uses import Uses


@dataclass(frozen=True, slots=True)
class Draft:
    """A block about to be kept: its key, the key before it, its place in the chain, its packed token ids."""

    key: bytes
    parent: bytes
    depth: int
    packed: bytes


class BlockStore:
    """The blocks of one RAM budget. Paths are block ids of one chain, first block first."""

    def __init__(
        self, geometry: KVGeometry, num_blocks: int, stats: KVStats, policy: Policy | None = None, *, poison_freed: bool
    ) -> None:
        self.geometry = geometry
        self.index = PrefixIndex()
        self.arena = KVArena(geometry, num_blocks)
        self.evicted = EvictedKeys(capacity=4 * num_blocks)
        self._uses = Uses(num_blocks)
        self._pool = BlockPool(num_blocks, policy)
        self._stats = stats
        self._poison_freed = poison_freed
        self._blank: set[int] = set()  # erased, and somebody still reads them

    @property
    def occupancy(self) -> Occupancy:
        return self._pool.occupancy

    def lease(self, path: Sequence[int]) -> None:
        """Keep the blocks of a path from being evicted until `release`."""
        self._pool.lease(path)

    def release(self, path: Sequence[int], num_answered: int | None = None) -> None:
        """Let go of a leased path; its blocks become the most recently used."""
        freed = self._pool.release(path, num_answered)
        if self._blank:
            for block in self._blank.intersection(freed):
                self.arena.blank(block)
                self._blank.discard(block)
        self._poison(freed)

    def hit(self, path: Sequence[int], num_tokens: int, *, is_asked: bool = True) -> None:
        """Count the first tokens of a path as found once more; surveys tell what requests found."""
        self._pool.hit(path)
        if path and is_asked:
            self._uses.end(path[-1], num_tokens - (len(path) - 1) * self.geometry.block_tokens)

    def touch(self, path: Sequence[int]) -> None:
        """Make a path the most recently used."""
        self.lease(path)
        self.release(path)

    def pin(self, path: Sequence[int]) -> int:
        """Keep a path from being evicted until `unpin`; returns how many of its leading blocks found room for pins."""
        return self._pool.pin(path)

    def unpin(self, path: Sequence[int]) -> int:
        """Take the pins off a path; returns how many there were."""
        return self._pool.unpin(path)

    def extend(
        self,
        path: list[int],
        fresh: Sequence[Draft],
        slab: torch.Tensor,
        *,
        may_evict: bool,
        owner: str = "",
        sequence: int = 0,
        num_answered: int | None = None,
    ) -> int:
        """Add `fresh` after `path`, head first, as many as find room; returns how many. Refreshes the whole chain."""
        self.lease(path)
        added: list[int] = []
        try:
            if fresh:
                last = path[-1] if path else None
                added = self._fill(last, fresh, slab, may_evict=may_evict, owner=owner, sequence=sequence)
        finally:
            self.release([*path, *added], num_answered)
        if self.occupancy.total:
            self._stats.rejected_blocks += len(fresh) - len(added)
        return len(added)

    def survey(self, most_nodes: int) -> Survey:
        """Begin to find out which prefixes are shared most; the rest is for who drives it."""
        facts, pins = self._pool.copy()
        return Survey(list(self.index), facts, pins, self._uses.copy(), self.geometry.block_tokens, most_nodes)

    def clear(self) -> None:
        """Forget every block; what is pinned stays readable until its release."""
        for block in self.index.clear():
            self._forget(block)
        self._uses = Uses(self.occupancy.total)
        self.evicted.clear()

    def owner(self, block: int) -> str:
        """Whose a kept block is; nothing for nobody's."""
        return self._pool.owner(block)

    def erase(self, owner: str) -> int:
        """Forget every block of an owner and what hangs on it, and blank the memory of those that nobody reads; how
        many. What is leased stays readable for its holder, and is blanked when the last one lets go."""
        doomed = [node for node in self.index if self._pool.owner(node.block) == owner]
        doomed.sort(key=lambda node: -node.depth)
        count = 0
        for node in doomed:
            if self._pool.num_children(node.block):
                continue  # of somebody else: not with roots that hold the owner
            self._drop(node.block)
            count += 1
            if self._pool.is_leased(node.block):
                self._blank.add(node.block)
            else:
                self.arena.blank(node.block)
        return count

    def check(self) -> None:
        """Raise RuntimeError, with the numbers, when an invariant is broken."""
        self._pool.check()
        self.index.check()
        indexed = {node.block for node in self.index}
        kept = {block for block in range(self.occupancy.total) if self._pool.is_kept(block)}
        if indexed != kept:
            raise RuntimeError(f"indexed {len(indexed)} != kept {len(kept)}, differing in {sorted(indexed ^ kept)}")
        children = Counter(node.parent for node in self.index)
        for node in self.index:
            if children[node.key] != self._pool.num_children(node.block):
                raise RuntimeError(
                    f"block {node.block} at depth {node.depth} has {children[node.key]} children, "
                    f"and {self._pool.num_children(node.block)} in the pool"
                )

    def _fill(
        self,
        last: int | None,
        fresh: Sequence[Draft],
        slab: torch.Tensor,
        *,
        may_evict: bool,
        owner: str,
        sequence: int,
    ) -> list[int]:
        replaced = self.index.beginning_of(fresh[0].parent, fresh[0].packed)
        times, num_used = 0, 0  # of the one replaced
        if replaced is not None and not self._pool.is_leased(replaced):
            times, num_used = self._drop(replaced)  # before allocating: its room is ours, and nothing else has to go
            replaced = None
        blocks = self._allocate(len(fresh), owner, may_evict=may_evict)
        if replaced is not None and blocks:
            times, num_used = self._drop(replaced)
        if blocks:
            self._uses.end(blocks[0], num_used, times)
        num_rows = sum(len(draft.packed) for draft in fresh[: len(blocks)]) // ID_BYTES
        try:
            self.arena.store(blocks, slab, fresh[0].depth * self.geometry.block_tokens, num_rows)
        except BaseException:
            self.release(blocks)
            raise
        for block, draft in zip(blocks, fresh, strict=False):  # whatever found no room is left out
            self.index.add(Node(block, draft.key, draft.parent, draft.depth, draft.packed))
            is_full = len(draft.packed) == self.geometry.block_tokens * ID_BYTES
            depth = draft.depth * self.geometry.block_tokens
            self._pool.keep(block, Facts(draft.key, last, owner, sequence, is_full, depth))
            last = block
        return blocks

    def _allocate(self, wanted: int, owner: str, *, may_evict: bool) -> list[int]:
        """Up to `wanted` blocks, leased: free ones first, then the leaves that the policy can spare."""
        blocks: list[int] = []
        while len(blocks) < wanted:
            block = self._pool.take_free()
            if block is None and may_evict:
                block = self._evict(owner, len(blocks))
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _evict(self, owner: str, pending: int) -> int | None:
        block = self._pool.take_cached(owner, pending)
        if block is not None:
            gone = self.index.remove(block)
            self.evicted.add(gone.key)
            self._pass_up(block, gone.parent)
            self._stats.evicted_blocks += 1
            self._poison([block])
        return block

    def _pass_up(self, block: int, parent: bytes) -> None:
        """Who found a leaf that goes had found all of its parent, too."""
        times, _ = self._uses.take(block)
        if (above := self.index.find(parent)) is not None:
            self._uses.end(above, times * self.geometry.block_tokens, times)

    def _drop(self, block: int) -> tuple[int, int]:
        """Forget a leaf; returns how often it was found, and how many of its rows together."""
        self.index.remove(block)
        self._forget(block)
        return self._uses.take(block)

    def _forget(self, block: int) -> None:
        self._pool.forget(block)
        if not self._pool.is_leased(block):
            self._poison([block])

    def _poison(self, blocks: Sequence[int]) -> None:
        if self._poison_freed:
            for block in blocks:
                self.arena.poison(block)
