"""What a policy's bookkeeping costs: the same trace through the same pool under each policy, in turns."""

import time
from random import Random
from statistics import median

from bench.rows import Row, Scale
from kvtier.simulate import Request, Trace, hit_tokens

BLOCKS = 1400  # a GiB of SmolLM2-135M
TOKENS = 32


def run(scale: Scale) -> list[Row]:
    """Microseconds per block found or kept, beside `lru` in the same turn."""
    trace = _trace(scale.of(1500, 200))
    uses = sum(len(request.blocks) for request in trace.requests)
    policies = ("lru", "adaptive", "cost-aware", "lfu", "random")
    seconds: dict[str, list[float]] = {policy: [] for policy in policies}
    for _ in range(scale.of(5, 1)):
        for policy in policies:
            started = time.perf_counter()
            hit_tokens(trace, BLOCKS, policy)
            seconds[policy].append(time.perf_counter() - started)
    each = {policy: median(taken) / uses * 1e6 for policy, taken in seconds.items()}
    return [
        Row("eviction", f"{policy}, per block, pool and policy", each[policy], "us", each["lru"], "lru")
        for policy in policies[1:]
    ]


def _trace(num_requests: int) -> Trace:
    """Conversations that grow by a few blocks a turn, some of them for long."""
    draw = Random("eviction")
    talks: list[list[int]] = [[] for _ in range(100)]
    requests, next_name = [], 0
    for _ in range(num_requests):
        talk = draw.choice(talks)
        if draw.random() < 0.2:
            talk.clear()
        size = draw.randint(4, 24)
        talk += range(next_name, next_name + size)
        next_name += size
        requests.append(Request(len(talk) * TOKENS, tuple(talk), num_answered=draw.randint(1, 600)))
    return Trace(tuple(requests), TOKENS)
