"""One choice of one request on its way through the engine.

# tokens   0 ..... num_cached ...... num_computed ...... num_tokens
#          |  copied   |  ours, in the slab  |  known, to compute  |
# Prefill, decode, a hit and coming back after a preemption are one rule: compute what is known and not yet computed.
# The last known token is always computed, for its logits.
"""

from collections.abc import Sequence as Ids
from dataclasses import dataclass, field
from random import Random

from backends.local.params import Sampling
from kvtier.keys import Chain


@dataclass(slots=True, eq=False)
class Sequence:
    """Token ids, how far they are computed, and how to choose the next one."""

    request: int
    index: int
    token_ids: list[int]
    num_prompt: int
    max_total: int  # tokens at which it ends, within the context
    sampling: Sampling
    eos_token_ids: frozenset[int]
    random: Random
    chain: Chain | None = None  # None: KV blocks are neither read nor left
    publishes: bool = True
    keys: Ids[bytes] = ()  # of the prompt's full blocks, to see who computes the same
    num_computed: int = 0
    num_published: int = 0  # full blocks
    num_cached: int | None = None  # tokens found at the first admission
    capacity: int = field(default=0)  # tokens its slab holds; 0: it has none

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_left(self) -> int:
        """Known tokens not computed yet; 1 means that the next step is a decode."""
        return len(self.token_ids) - self.num_computed

    def append(self, token_id: int) -> str | None:
        """Take the chosen token; returns why the sequence ends with it, or None."""
        self.token_ids.append(token_id)
        if token_id in self.eos_token_ids:
            return "stop"
        return "length" if len(self.token_ids) >= self.max_total else None
