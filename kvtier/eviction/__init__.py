"""Eviction policies by name."""

from kvtier.eviction.adaptive import Adaptive
from kvtier.eviction.policy import Policy
from kvtier.eviction.simple import Lfu, Lru, RandomOrder

POLICIES = ("adaptive", "lru", "lfu", "random")


def make_policy(name: str, num_blocks: int, *, seed: int = 0) -> Policy:
    """A policy for a pool of `num_blocks`. Raises ValueError for a name that is none of `POLICIES`."""
    match name:
        case "adaptive":
            return Adaptive(num_blocks)
        case "lru":
            return Lru()
        case "lfu":
            return Lfu()
        case "random":
            return RandomOrder(seed)
    raise ValueError(f"policy {name!r} is none of {', '.join(POLICIES)}")
