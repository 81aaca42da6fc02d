"""Eviction policies by name."""

from kvtier.eviction.adaptive import Adaptive
from kvtier.eviction.policy import Policy
from kvtier.eviction.simple import Lfu, Lru, RandomOrder

POLICIES = ("adaptive", "cost-aware", "lru", "lfu", "random")
KNEE_TOKENS = 3900.0  # for a model not known closer: SmolLM2-135M with its head computed for every token


def make_policy(name: str, num_blocks: int, *, seed: int = 0, knee_tokens: float = KNEE_TOKENS) -> Policy:
    """A policy for a pool of `num_blocks`. Raises ValueError for a name that is none of `POLICIES`."""
    match name:
        case "adaptive":
            return Adaptive(num_blocks)
        case "cost-aware":
            return Adaptive(num_blocks, knee_tokens)
        case "lru":
            return Lru()
        case "lfu":
            return Lfu()
        case "random":
            return RandomOrder(seed)
    raise ValueError(f"policy {name!r} is none of {', '.join(POLICIES)}")
