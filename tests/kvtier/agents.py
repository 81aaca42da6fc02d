"""A made-up trace: agents that share a system prompt and grow their histories, and long prompts nobody repeats."""

from random import Random

from kvtier.simulate import Request, Trace


def agent_trace(*, seed: int, num_requests: int, block_tokens: int = 512) -> Trace:
    """Twelve agents at a time, each call a few blocks longer than the last; a quarter of the requests are scans."""
    draw = Random(seed)
    next_name = 8  # blocks 0 to 7 are the system prompt
    agents: list[list[int]] = [[] for _ in range(12)]
    requests = []
    for _ in range(num_requests):
        if draw.random() < 0.25:
            size = draw.randint(8, 48)
            blocks = [*range(next_name, next_name + size)]
        else:
            agent = draw.randrange(len(agents))
            if not agents[agent] or draw.random() < 0.08:
                agents[agent] = [*range(8)]
            size = draw.randint(1, 5)
            agents[agent] += range(next_name, next_name + size)
            blocks = agents[agent]
        next_name += size
        requests.append(Request(len(blocks) * block_tokens, tuple(blocks)))
    return Trace(tuple(requests), block_tokens)
