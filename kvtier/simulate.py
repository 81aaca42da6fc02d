"""What each eviction policy makes of a trace of requests, beside the best that could have been done.

A trace is a list of requests, each the ids of the prefix blocks of its prompt: equal ids are equal prefixes. One
request finds its longest kept prefix, then keeps all its blocks as far as there is room; whole prompts count, the last
block with the tokens it is filled with. Policies run inside the very `BlockPool` the engine uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from kvtier.eviction import KNEE_TOKENS, make_policy
from kvtier.eviction.policy import Facts
from kvtier.pool import BlockPool


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt: its tokens, and the ids of its blocks."""

    num_tokens: int
    blocks: tuple[int, ...]
    owner: str = ""
    num_answered: int | None = None  # tokens of the answer, where the trace tells


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival; every block but the last of a request holds `block_tokens`."""

    requests: tuple[Request, ...]
    block_tokens: int = 512

    @property
    def num_tokens(self) -> int:
        return sum(request.num_tokens for request in self.requests)

    def tokens_in(self, request: Request, num_blocks: int) -> int:
        """Tokens of the leading blocks of a request."""
        return min(request.num_tokens, num_blocks * self.block_tokens)


def hit_tokens(trace: Trace, num_blocks: int, policy: str, *, seed: int = 0, knee_tokens: float = KNEE_TOKENS) -> int:
    """Tokens found by a pool of `num_blocks` under a policy."""
    return sum(found_by(trace, num_blocks, policy, seed=seed, knee_tokens=knee_tokens))


def saved_compute(trace: Trace, found: Sequence[int], knee_tokens: float = KNEE_TOKENS) -> float:
    """Share of the cost of all prompts that is spared by finding so many tokens of each.

    A token costs as much as its products with the weights, and as much again for every `knee_tokens` it looks back on.
    """

    def cost(num_tokens: int) -> float:
        return num_tokens + num_tokens**2 / (2 * knee_tokens)

    whole = sum(cost(request.num_tokens) for request in trace.requests)
    return sum(map(cost, found)) / whole if whole else 0.0


def found_by(
    trace: Trace, num_blocks: int, policy: str, *, seed: int = 0, knee_tokens: float = KNEE_TOKENS
) -> list[int]:
    """Tokens that each request finds in a pool of `num_blocks` under a policy."""
    pool = BlockPool(num_blocks, make_policy(policy, num_blocks, seed=seed, knee_tokens=knee_tokens))
    kept: dict[int, int] = {}  # id in the trace -> block of the pool
    ids: dict[int, int] = {}
    found = []
    for sequence, request in enumerate(trace.requests):
        path: list[int] = []
        for name in request.blocks:
            if name not in kept:
                break
            path.append(kept[name])
        found.append(trace.tokens_in(request, len(path)))
        pool.hit(path)
        pool.lease(path)
        for place in range(len(path), len(request.blocks)):
            block = pool.take_free()
            if block is None:
                block = pool.take_cached(request.owner)
                if block is None:
                    break
                del kept[ids[block]]
            name = request.blocks[place]
            is_full = (place + 1) * trace.block_tokens <= request.num_tokens
            key = name.to_bytes(16, "little", signed=True)
            depth = place * trace.block_tokens
            pool.keep(block, Facts(key, path[-1] if path else None, request.owner, sequence, is_full, depth))
            kept[name], ids[block] = block, name
            path.append(block)
        pool.release(path, request.num_answered)
    return found


def ceiling_tokens(trace: Trace) -> int:
    """Tokens found when nothing is ever evicted."""
    seen: set[int] = set()
    found_tokens = 0
    for request in trace.requests:
        found = next((i for i, name in enumerate(request.blocks) if name not in seen), len(request.blocks))
        found_tokens += trace.tokens_in(request, found)
        seen.update(request.blocks)
    return found_tokens


def best_tokens(trace: Trace, num_blocks: int) -> int:
    """No fewer tokens than any policy can find, knowing the future: Belady's rule, with bypass.

    Between two requests at most `num_blocks` blocks are kept; of the old ones and those of the request just served any
    may be, and what is used again soonest is kept. A block is never used later than one behind it, so with deeper
    blocks going first among equals this keeps whole prefixes, and dropping the condition that it must cannot gain
    anything. Blocks that are found whole are all worth the same, so Belady's rule is exact for them; those that are
    found partly filled are granted without taking room. The bound exceeds what can be reached by at most those tokens.
    """
    next_use: dict[int, tuple[int, bool]] = {}
    uses: list[list[tuple[int, bool] | None]] = []
    for number in range(len(trace.requests) - 1, -1, -1):
        request = trace.requests[number]
        uses.append([next_use.get(name) for name in request.blocks])
        for place, name in enumerate(request.blocks):
            next_use[name] = number, (place + 1) * trace.block_tokens <= request.num_tokens
    uses.reverse()
    kept: dict[int, int] = {}  # id -> number of the request that uses it next
    furthest: list[tuple[int, int, int]] = []
    found_tokens = 0
    seen: set[int] = set()
    for number, request in enumerate(trace.requests):
        for place, name in enumerate(request.blocks):
            is_full = (place + 1) * trace.block_tokens <= request.num_tokens
            if kept.get(name) == number:
                del kept[name]
                found_tokens += trace.block_tokens
            elif name in seen and not is_full:
                found_tokens += request.num_tokens - place * trace.block_tokens
            seen.add(name)
        for place, name in enumerate(request.blocks):
            use = uses[number][place]
            if use is not None and use[1]:
                kept[name] = use[0]
                heappush(furthest, (-use[0], -place, name))
        while len(kept) > num_blocks:
            use_at, _, name = heappop(furthest)
            if kept.get(name) == -use_at:
                del kept[name]
    return found_tokens
