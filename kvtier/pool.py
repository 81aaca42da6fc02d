"""Who holds which block: counts only, no tensors and no tokens.

A block is in exactly one state, and the three counts always add up to the total:

    free     holds nothing                        next to be allocated
    cached   holds a kept prefix, nobody uses it  allocated when nothing is free, as the policy ranks them
    leased   somebody uses it                     never allocated, never written

Leaf first: of the cached blocks only those without a kept child, and not pinned, are shown to the policy. A pinned
block is cached or leased like any other, but never allocated; at most a fifth of the pool may be pinned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kvtier.eviction.policy import Facts, Policy
from kvtier.eviction.shares import Shares
from kvtier.eviction.simple import Lru

PINNED_PART = 5  # one in so many blocks may be pinned


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Blocks by state; those pinned are among the cached and the leased."""

    total: int
    free: int
    cached: int
    leased: int
    pinned: int = 0


class BlockPool:
    """Hands out block ids 0..num_blocks-1."""

    def __init__(self, num_blocks: int, policy: Policy | None = None) -> None:
        self._free = list(range(num_blocks - 1, -1, -1))  # a stack: low ids first, so untouched memory stays untouched
        self._policy = policy if policy is not None else Lru()
        self._shares = Shares(num_blocks)
        self._facts: list[Facts | None] = [None] * num_blocks  # of the kept ones
        self._children = [0] * num_blocks  # kept ones
        self._refs = [0] * num_blocks
        self._pins: set[int] = set()
        self._num_cached = 0
        self._num_leased = 0

    @property
    def occupancy(self) -> Occupancy:
        return Occupancy(len(self._refs), len(self._free), self._num_cached, self._num_leased, len(self._pins))

    def is_leased(self, block: int) -> bool:
        return self._refs[block] > 0

    def is_kept(self, block: int) -> bool:
        return self._facts[block] is not None

    def owner(self, block: int) -> str:
        """Whom a kept block is counted for; nothing for one that is not kept."""
        facts = self._facts[block]
        return "" if facts is None else facts.owner

    def is_pinned(self, block: int) -> bool:
        return block in self._pins

    def num_children(self, block: int) -> int:
        return self._children[block]

    def copy(self) -> tuple[list[Facts | None], frozenset[int]]:
        """What is known of every kept block, and which are pinned, as it is now."""
        return self._facts[:], frozenset(self._pins)

    def kept_by(self, owner: str) -> int:
        """Blocks kept for an owner."""
        return self._shares.kept_by(owner)

    def take_free(self) -> int | None:
        """A free block, leased to the caller; None when there is none."""
        return self._lease(self._free.pop()) if self._free else None

    def take_cached(self, owner: str = "", pending: int = 0) -> int | None:
        """The cached block to evict for `owner`, who holds `pending` others that are not kept yet.

        It is forgotten and leased to the caller; None when none may go.
        """
        block = self._victim(owner, pending)
        if block is None:
            return None
        self._policy.hide(block)
        self._num_cached -= 1
        self._drop(block)
        return self._lease(block)

    def keep(self, block: int, facts: Facts) -> None:
        """Cache a leased block once its last holder lets go, instead of freeing it."""
        if not self._refs[block]:
            raise RuntimeError(f"block {block} is kept without being leased")
        self._facts[block] = facts
        self._policy.add(block, facts)
        self._shares.add(facts.owner)
        if facts.parent is not None:
            self._children[facts.parent] += 1

    def forget(self, block: int) -> None:
        """Free a kept block now, or when its last holder lets go."""
        if not self._refs[block]:
            self._policy.hide(block)
            self._num_cached -= 1
            self._free.append(block)
        self._drop(block)

    def hit(self, path: Sequence[int]) -> None:
        """A request found the blocks of a chain."""
        self._policy.hit(path)
        if path and (facts := self._facts[path[-1]]) is not None:
            self._shares.saw(facts.owner)

    def lease(self, path: Sequence[int]) -> None:
        """Lease the blocks of a chain, first block first."""
        for block in path:
            if self._refs[block]:
                self._refs[block] += 1
            else:
                self._policy.hide(block)
                self._num_cached -= 1
                self._lease(block)

    def release(self, path: Sequence[int], num_answered: int | None = None) -> list[int]:
        """Let go of the blocks of a chain, last to first; returns those that became free.

        A request that ends tells how many tokens it was answered with.
        """
        freed = []
        self._policy.settle([block for block in path if self.is_kept(block)], num_answered)
        for block in reversed(path):
            if self._refs[block] < 1:
                raise RuntimeError(f"block {block} is let go of more often than it was leased")
            self._refs[block] -= 1
            if self._refs[block]:
                continue
            self._num_leased -= 1
            if self.is_kept(block):
                self._num_cached += 1
                self._show(block)
            else:
                self._free.append(block)
                freed.append(block)
        return freed

    def pin(self, path: Sequence[int]) -> int:
        """Keep the blocks of a chain from eviction, first block first, while there is room for pins; returns how many
        leading ones are pinned now."""
        for i, block in enumerate(path):
            if block not in self._pins:
                if (len(self._pins) + 1) * PINNED_PART > len(self._refs):
                    return i
                self._pins.add(block)
                self._policy.hide(block)
        return len(path)

    def unpin(self, path: Sequence[int]) -> int:
        """Take the pins off a chain; returns how many there were."""
        pinned = [block for block in path if block in self._pins]
        for block in pinned:
            self._pins.discard(block)
            self._show(block)
        return len(pinned)

    def check(self) -> None:
        """Raise RuntimeError with the numbers when the states do not add up, or a leaf is hidden from the policy."""
        leased = {block for block, refs in enumerate(self._refs) if refs}
        kept = {block for block, facts in enumerate(self._facts) if facts is not None}
        cached = kept - leased
        free, total = len(self._free), len(self._refs)
        distinct = len(leased.union(self._free, cached))
        if (
            free + self._num_cached + self._num_leased != total
            or distinct != total
            or (len(leased), len(cached)) != (self._num_leased, self._num_cached)
        ):
            raise RuntimeError(
                f"free {free} + cached {self._num_cached} + leased {self._num_leased} != {total} "
                f"({len(leased)} with references, {len(cached)} kept without, {distinct} distinct)"
            )
        if not self._pins <= kept or len(self._pins) * PINNED_PART > total:
            raise RuntimeError(f"{len(self._pins)} of {total} blocks are pinned, {len(self._pins - kept)} not kept")

    def _victim(self, owner: str, pending: int) -> int | None:
        payers = self._shares.pay_for(owner, pending)
        if payers is None:
            return self._policy.victim(None)
        block = next((block for block in map(self._policy.victim, payers) if block is not None), None)
        return self._policy.victim(None) if block is None and payers[0] != owner else block

    def _drop(self, block: int) -> None:
        facts = self._facts[block]
        if facts is None:
            return
        self._pins.discard(block)
        self._policy.drop(block)
        self._shares.remove(facts.owner)
        self._facts[block] = None
        if facts.parent is not None:
            self._children[facts.parent] -= 1
            self._show(facts.parent)

    def _show(self, block: int) -> None:
        """Let the policy have a block that may go."""
        if self.is_kept(block) and not self._refs[block] and not self._children[block] and block not in self._pins:
            self._policy.expose(block)

    def _lease(self, block: int) -> int:
        self._refs[block] = 1
        self._num_leased += 1
        return block
