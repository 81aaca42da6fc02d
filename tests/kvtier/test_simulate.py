"""The optimum against every choice there is, on traces small enough to try them all."""

from collections import deque
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.offline.simulate import read_trace
from kvtier.eviction import POLICIES
from kvtier.simulate import Request, Trace, best_tokens, ceiling_tokens, found_by, hit_tokens, saved_compute
from tests.kvtier.agents import agent_trace

PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), min_size=1, max_size=7)
CONVERSATIONS = Path(__file__).parents[3] / "shared/data/traces/mooncake_conversation.jsonl.gz"
RUN = settings(deadline=None, max_examples=60)


def trace_of(prompts: list[list[int]]) -> Trace:
    """Blocks of two tokens; the id of a block stands for everything up to its end."""
    names: dict[tuple[int, ...], int] = {}
    requests = []
    for ids in prompts:
        ends = range(2, len(ids) + 2, 2)
        requests.append(Request(len(ids), tuple(names.setdefault(tuple(ids[:end]), len(names)) for end in ends)))
    return Trace(tuple(requests), block_tokens=2)


def by_trying_everything(trace: Trace, num_blocks: int) -> int:
    @cache
    def best_from(number: int, kept: frozenset[int]) -> int:
        if number == len(trace.requests):
            return 0
        request = trace.requests[number]
        found = next((i for i, name in enumerate(request.blocks) if name not in kept), len(request.blocks))
        there = sorted(kept.union(request.blocks))
        sizes = range(min(num_blocks, len(there)) + 1)
        then = max(best_from(number + 1, frozenset(some)) for size in sizes for some in combinations(there, size))
        return trace.tokens_in(request, found) + then

    return best_from(0, frozenset())


def partly_filled_finds(trace: Trace) -> int:
    seen: set[int] = set()
    tokens = 0
    for request in trace.requests:
        rest = request.num_tokens % trace.block_tokens
        tokens += rest if rest and request.blocks[-1] in seen else 0
        seen.update(request.blocks)
    return tokens


@RUN
@given(PROMPTS, st.integers(1, 4))
def test_the_optimum_is_what_trying_everything_finds(prompts: list[list[int]], num_blocks: int) -> None:
    trace = trace_of(prompts)
    reachable = by_trying_everything(trace, num_blocks)

    assert reachable <= best_tokens(trace, num_blocks) <= reachable + partly_filled_finds(trace)


@RUN
@given(PROMPTS, st.integers(1, 6))
def test_no_policy_beats_the_optimum(prompts: list[list[int]], num_blocks: int) -> None:
    trace = trace_of(prompts)

    for policy in POLICIES:
        assert hit_tokens(trace, num_blocks, policy) <= best_tokens(trace, num_blocks) <= ceiling_tokens(trace)


@RUN
@given(PROMPTS)
def test_with_room_for_everything_all_find_the_ceiling(prompts: list[list[int]]) -> None:
    trace = trace_of(prompts)

    assert {hit_tokens(trace, 100, policy) for policy in POLICIES} == {ceiling_tokens(trace)}
    assert best_tokens(trace, 100) == ceiling_tokens(trace)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_simulation_repeats_itself(policy: str) -> None:
    trace = agent_trace(seed=1, num_requests=200)

    assert hit_tokens(trace, 100, policy) == hit_tokens(trace, 100, policy)


@pytest.mark.parametrize(("seed", "num_blocks"), [(1, 100), (2, 400)])
def test_agents_with_scans_between_find_no_less_than_under_lru(seed: int, num_blocks: int) -> None:
    trace = agent_trace(seed=seed, num_requests=600)
    lru, adaptive = (hit_tokens(trace, num_blocks, policy) for policy in ("lru", "adaptive"))

    assert adaptive >= lru - trace.num_tokens / 100
    assert adaptive <= best_tokens(trace, num_blocks)


def test_kinds_that_come_back_after_many_pools_are_told_apart() -> None:
    """Short prompts come a second time when the pool was filled nine times between; long ones never do."""
    fresh = iter(range(100_000))
    shorts = [tuple(next(fresh) for _ in range(8)) for _ in range(60)]
    requests = []
    for before, now in pairwise(shorts):
        requests += [now, *(tuple(next(fresh) for _ in range(48)) for _ in range(12)), before]
    trace = Trace(tuple(Request(512 * len(blocks), blocks) for blocks in requests))

    assert hit_tokens(trace, 64, "lru") == 0
    assert hit_tokens(trace, 64, "adaptive") > best_tokens(trace, 64) / 2


def test_prompts_whose_answers_tell_that_nobody_goes_on_give_their_room_to_others() -> None:
    """Every prompt comes once or twice, and only the length of its answer tells which."""

    def hits(*, is_told: bool) -> int:
        draw, fresh, requests = Random(1), iter(range(100_000)), []
        waiting: deque[Request] = deque()
        for _ in range(1200):
            is_last = draw.random() < 0.7
            blocks = tuple(next(fresh) for _ in range(8))
            answered = (4 if is_last else 300) if is_told else None
            requests.append(Request(512 * len(blocks), blocks, num_answered=answered))
            if not is_last:
                waiting.append(requests[-1])
            if len(waiting) > 12:
                requests.append(waiting.popleft())
        return hit_tokens(Trace(tuple(requests)), 200, "adaptive")

    assert hits(is_told=True) > 1.3 * hits(is_told=False)


def test_a_cost_aware_pool_keeps_the_end_of_long_prompts_and_computes_less() -> None:
    """Long and short prompts come back alike, and there is room for some: late blocks cost more to compute again."""
    draw, fresh, requests = Random(1), iter(range(100_000)), []
    talks = [tuple(next(fresh) for _ in range(size)) for size in (64, 4) for _ in range(64 // size * 4)]
    requests = [Request(512 * len(talk), talk) for _ in range(60) for talk in draw.sample(talks, len(talks))]
    trace = Trace(tuple(requests))
    by_rate, by_cost = (found_by(trace, 200, policy) for policy in ("adaptive", "cost-aware"))

    assert saved_compute(trace, by_cost) > saved_compute(trace, by_rate)
    assert max(by_cost[-60:]) > max(by_rate[-60:])


def test_the_cost_of_a_token_doubles_at_the_knee() -> None:
    trace = Trace((Request(4000, tuple(range(8))),))

    assert saved_compute(trace, [4000], 1000) == 1
    assert saved_compute(trace, [2000], 1000) == pytest.approx((2000 + 2000) / (4000 + 8000))
    assert saved_compute(trace, [2000], 1e12) == pytest.approx(0.5)


@pytest.mark.skipif(not CONVERSATIONS.exists(), reason="the conversation trace is not here")
@pytest.mark.parametrize("num_blocks", [1000, 10_000])
def test_people_find_no_less_than_under_lru(num_blocks: int) -> None:
    trace = read_trace(CONVERSATIONS)
    trace = Trace(trace.requests[:2000], trace.block_tokens)
    lru, adaptive = (hit_tokens(trace, num_blocks, policy) for policy in ("lru", "adaptive"))

    assert adaptive >= lru - trace.num_tokens / 100
