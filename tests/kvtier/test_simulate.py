"""The optimum against every choice there is, on traces small enough to try them all."""

from functools import cache
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtier.eviction import POLICIES
from kvtier.simulate import Request, Trace, best_tokens, ceiling_tokens, hit_tokens
from tests.kvtier.agents import agent_trace

PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), min_size=1, max_size=7)
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


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("num_blocks", [100, 400])
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
