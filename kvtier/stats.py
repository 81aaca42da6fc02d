"""What the cache counts: plain numbers, exported by someone else."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

MissReason = Literal["no_prefix", "below_block", "evicted", "disabled", "breakeven", "tier_error"]


def _no_misses() -> dict[MissReason, int]:
    return {"no_prefix": 0, "below_block": 0, "evicted": 0, "disabled": 0, "breakeven": 0, "tier_error": 0}


@dataclass(slots=True)
class KVStats:
    """Counters since the start. A lookup is either a hit (some tokens found) or one miss with its reason."""

    lookups: int = 0
    asked_tokens: int = 0  # tokens of the prompts looked up
    hit_tokens: int = 0  # wherever they came from
    ram_hit_tokens: int = 0
    in_place_tokens: int = 0  # hit tokens whose rows lay in the slab already, and were not copied
    hit_blocks: int = 0  # full blocks found
    partial_tokens: int = 0  # hit tokens that came out of part of a block
    cut_short: int = 0  # hits that would have been longer but for eviction
    published_blocks: int = 0
    published_tails: int = 0
    failed_publishes: int = 0  # memory was too short to keep what was computed
    evicted_blocks: int = 0
    rejected_blocks: int = 0  # not kept: every block was leased, or not worth an eviction
    misses: dict[MissReason, int] = field(default_factory=_no_misses)


class EvictedKeys:
    """The keys evicted last, at most `capacity`, to tell "was never here" from "is no longer here"."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: bytes) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._capacity:
            self._keys.popitem(last=False)

    def clear(self) -> None:
        self._keys.clear()
