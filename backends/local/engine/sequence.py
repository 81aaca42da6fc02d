"""One choice of one request on its way through the engine.

# tokens   0 ..... num_cached ...... num_computed ...... num_tokens
#          |  copied   |  ours, in the slab  |  known, to compute  |
# Prefill, decode, a hit and coming back after a preemption are one rule: compute what is known and not yet computed.
# The last known token is always computed, for its logits.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Ids
from dataclasses import dataclass, field
from random import Random

from backends.local.engine.drafts import Guesser
from backends.local.engine.matcher import Matcher
from backends.local.engine.sampler import Tally
from backends.local.params import Sampling
from kvtier.keys import Chain
from kvtier.tiers.prefetch import Prefetch


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
    owner: str = ""  # who shares the engine fairly with others
    priority: int = 0  # among those of one owner, lower goes first
    is_ahead: bool = False  # idle work: nobody has asked for it yet
    arrival: int = 0  # counts the sequences
    arrived_s: float = 0.0
    timeout_s: float | None = None  # from its arrival on
    matcher: Matcher | None = None  # None: any token may follow
    num_computed: int = 0
    num_published: int = 0  # full blocks
    num_cached: int | None = None  # tokens found at the first admission
    prefetched: Prefetch | None = None  # what slower tiers have of it, under way or here
    by_tier: Mapping[str, int] = field(default_factory=dict)  # where they were
    guesser: Guesser | None = None  # None: no drafts
    tally: Tally | None = None  # of what it said, where that is asked for
    capacity: int = field(default=0)  # tokens its slab holds; 0: it has none
    is_finished: bool = False  # its last token is said

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_left(self) -> int:
        """Known tokens not computed yet; 1 means that the next step is a decode."""
        return len(self.token_ids) - self.num_computed

    @property
    def was_admitted(self) -> bool:
        """Whether it had a slab before: it waits because it was preempted."""
        return self.num_cached is not None

    @property
    def is_fetched(self) -> bool:
        """Whether nothing of its prefix is under way from a slower tier."""
        return self.prefetched is None or self.prefetched.is_done

    @property
    def has_grammar(self) -> bool:
        """Whether nothing has to be compiled before its first token can be chosen."""
        return self.matcher is None or self.matcher.is_ready

    def is_overdue(self, now_s: float) -> bool:
        return self.timeout_s is not None and now_s - self.arrived_s > self.timeout_s

    def append(self, token_id: int) -> str | None:
        """Take the chosen token; returns why the sequence ends with it, or None."""
        self.token_ids.append(token_id)
        is_stopped = token_id in self.eos_token_ids
        self.is_finished = is_stopped or len(self.token_ids) >= self.max_total
        if not self.is_finished:
            return None
        return "stop" if is_stopped else "length"
