"""Whose blocks go first when several owners share a pool.

Without pressure nobody has a share. When the pool is full, every owner who was seen lately is due an equal part of it:
one above its part evicts its own first, one below it evicts from whoever holds most above theirs. Whoever has not
been seen for `IDLE_TURNS` times as many ticks as the pool has blocks is due nothing.
"""

from collections import Counter

IDLE_TURNS = 8


class Shares:
    """Kept blocks by owner. Choosing looks at every owner with blocks, and at none while there is only one."""

    def __init__(self, num_blocks: int) -> None:
        self._num_blocks = num_blocks
        self._kept: Counter[str] = Counter()
        self._seen: dict[str, int] = {}
        self._now = 0

    def kept_by(self, owner: str) -> int:
        return self._kept[owner]

    def saw(self, owner: str) -> None:
        self._now += 1
        if self._kept[owner]:  # of others nobody asks, and they may be as many as callers like
            self._seen[owner] = self._now

    def add(self, owner: str) -> None:
        self._kept[owner] += 1
        self.saw(owner)

    def remove(self, owner: str) -> None:
        self._kept[owner] -= 1
        if not self._kept[owner]:
            del self._kept[owner]
            self._seen.pop(owner, None)

    def pay_for(self, owner: str, pending: int = 0) -> list[str] | None:
        """Owners to evict from for a block of `owner`, in order; None when any will do.

        `pending` blocks are the owner's already, and not kept yet.
        """
        if not self._kept or (len(self._kept) == 1 and owner in self._kept):
            return None
        active = {name for name in self._kept if self._now - self._seen[name] <= IDLE_TURNS * self._num_blocks}
        share = self._num_blocks / len(active | {owner})
        above = {name: kept - (share if name in active else 0) for name, kept in self._kept.items()}
        payers = sorted((name for name, excess in above.items() if excess > 0), key=lambda name: (-above[name], name))
        if above.get(owner, -share) + pending >= 0:
            return [owner, *(name for name in payers if name != owner)]
        return payers or None
