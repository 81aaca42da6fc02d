"""What a step does follows from who waits and who runs, and from nothing else."""

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local.engine.scheduler import Growth, Limits, StepPlan, plan
from backends.local.engine.sequence import Sequence
from backends.local.params import Sampling

LIMITS = Limits(max_running=3, max_waiting=8, chunk_tokens=128, slab_tokens=4096)


def sequence(num_tokens: int, *, computed: int = 0, capacity: int = 0, keys: str = "", **fields: Any) -> Sequence:
    """A sequence; each letter of `keys` is one block, and its key names the whole prefix, as real ones do."""
    return Sequence(
        request=1,
        index=0,
        token_ids=list(range(num_tokens)),
        sampling=Sampling(),
        eos_token_ids=frozenset(),
        random=random.Random(0),
        keys=[keys[: i + 1].encode() for i in range(len(keys))],
        num_computed=computed,
        capacity=capacity,
        **{"num_prompt": num_tokens, "max_total": num_tokens + 50, **fields},
    )


def test_nothing_to_do_is_an_empty_plan() -> None:
    assert plan([], [], LIMITS, 0) == StepPlan()


@pytest.mark.parametrize(
    ("num_tokens", "computed", "chunk"),
    [(600, 0, (0, 256)), (600, 256, (256, 512)), (600, 280, (280, 600)), (600, 279, (279, 535)), (100, 0, (0, 100))],
)
def test_a_chunk_is_a_quarter_longer_rather_than_leave_a_short_rest(
    num_tokens: int, computed: int, chunk: tuple[int, int]
) -> None:
    todo = plan([], [sequence(num_tokens, computed=computed, capacity=700)], LIMITS, 0)

    assert [(part.start, part.stop) for part in todo.prefill] == [chunk]


@pytest.mark.parametrize(
    ("num_tokens", "computed", "chunk"),
    [(600, 0, (0, 128)), (600, 512, (512, 600)), (600, 45, (45, 128)), (100, 0, (0, 100))],
)
def test_in_exact_mode_chunks_end_at_multiples_of_the_chunk_size(
    num_tokens: int, computed: int, chunk: tuple[int, int]
) -> None:
    exact = replace(LIMITS, is_exact=True)

    todo = plan([], [sequence(num_tokens, computed=computed, capacity=700)], exact, 0)

    assert [(part.start, part.stop) for part in todo.prefill] == [chunk]


def test_a_step_decodes_all_who_are_ready_beside_one_chunk() -> None:
    ready = [sequence(10, computed=9, capacity=60), sequence(300, computed=299, capacity=400)]
    prompt = sequence(500, capacity=600)

    todo = plan([], [ready[0], prompt, ready[1]], LIMITS, 0)

    assert todo.decode == tuple(ready)
    assert [part.sequence for part in todo.prefill] == [prompt]


def test_chunks_go_to_the_oldest_and_to_the_nearest_its_end_in_turn() -> None:
    oldest, short = sequence(2000, capacity=2100), sequence(40, capacity=90)

    chosen = [plan([], [oldest, short], LIMITS, step).prefill for step in (0, 1)]

    assert [parts[0].sequence for parts in chosen] == [oldest, short]


def test_admission_is_first_come_first_served_within_the_limits() -> None:
    waiting = [sequence(10) for _ in range(5)]

    todo = plan(waiting, [sequence(5, computed=4, capacity=50)], LIMITS, 0)

    assert [growth.sequence for growth in todo.admit] == waiting[:2]


def test_who_does_not_fit_is_not_overtaken() -> None:
    todo = plan([sequence(5000, max_total=5000), sequence(10)], [], LIMITS, 0)

    assert todo.admit == ()


def test_a_prefix_being_computed_is_waited_for_and_others_pass() -> None:
    computing = sequence(200, computed=64, capacity=250, keys="abcdef")
    same, other = sequence(200, keys="abcdxy"), sequence(100, keys="klm")

    todo = plan([same, other], [computing], LIMITS, 0)

    assert [growth.sequence for growth in todo.admit] == [other]


@pytest.mark.parametrize(
    "computing",
    [
        sequence(200, computed=128, capacity=250, keys="abcdef"),  # past what is shared
        sequence(200, computed=199, capacity=250, keys="abcdef"),  # has begun to answer
        sequence(200, computed=64, capacity=250, keys="abcdef", publishes=False),  # leaves nothing behind
        sequence(200, computed=64, capacity=250, keys="zbcdef"),  # another prefix
    ],
    ids=["past it", "decoding", "not publishing", "another prefix"],
)
def test_there_is_no_waiting_for_what_will_not_come(computing: Sequence) -> None:
    same = sequence(200, keys="abcdxy")

    assert [growth.sequence for growth in plan([same], [computing], LIMITS, 0).admit] == [same]


def test_of_two_equal_prompts_one_goes_first() -> None:
    first, second = sequence(200, keys="abcdef"), sequence(200, keys="abcdef")

    assert [growth.sequence for growth in plan([first, second], [], LIMITS, 0).admit] == [first]


def test_a_full_slab_grows() -> None:
    full = sequence(101, computed=100, capacity=100, max_total=1000)

    todo = plan([], [full], LIMITS, 0)

    assert [(growth.sequence, growth.capacity) for growth in todo.grow] == [(full, 151)]
    assert todo.decode == (full,)


def test_the_youngest_makes_room_for_the_oldest() -> None:
    oldest = sequence(2001, computed=2000, capacity=2000, max_total=4000)
    middle = sequence(50, computed=49, capacity=96, max_total=96)
    youngest = sequence(1900, computed=1899, capacity=2000, max_total=2000)

    todo = plan([sequence(10)], [oldest, middle, youngest], LIMITS, 0)

    assert todo.preempt == (youngest,)
    assert [growth.sequence for growth in todo.grow] == [oldest]
    assert todo.decode == (oldest, middle)
    assert todo.admit == ()


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_comes_everyone_ends_within_the_limits(rng: random.Random) -> None:
    limits = Limits(max_running=3, max_waiting=99, chunk_tokens=64, slab_tokens=700)
    waiting: list[Sequence] = []
    running: list[Sequence] = []
    left = 12
    for step in range(20_000):
        if left and rng.random() < 0.1:
            left -= 1
            num_prompt = rng.randint(1, 400)
            keys = "".join(rng.choice("ab") for _ in range(num_prompt // 32))
            waiting.append(sequence(num_prompt, keys=keys, max_total=min(700, num_prompt + rng.randint(1, 300))))
        if running and rng.random() < 0.01:
            running.remove(rng.choice(running))
        _apply(plan(waiting, running, limits, step), waiting, running)
        assert len(running) <= limits.max_running
        assert sum(each.capacity for each in running) <= limits.slab_tokens
        if not left and not waiting and not running:
            return
    pytest.fail(f"{len(waiting)} wait and {len(running)} run for ever")


def _apply(todo: StepPlan, waiting: list[Sequence], running: list[Sequence]) -> None:
    """Carry a plan out, without a model."""
    for each in todo.preempt:
        running.remove(each)
        each.num_computed = each.capacity = 0
        waiting.insert(0, each)
    for growth in todo.grow:
        growth.sequence.capacity = growth.capacity
    for growth in todo.admit:
        waiting.remove(growth.sequence)
        running.append(growth.sequence)
        growth.sequence.capacity = growth.capacity
    computed = list(todo.decode)
    for part in todo.prefill:
        part.sequence.num_computed = part.stop
        assert part.stop <= part.sequence.capacity
        if part.sequence.num_left == 0:
            computed.append(part.sequence)
    for each in computed:
        assert each.num_tokens <= each.capacity
        each.num_computed = each.num_tokens
        if each.append(7):
            running.remove(each)


def test_who_decodes_waits_for_a_quarter_of_the_largest_chunk() -> None:
    ready, prompt = sequence(10, computed=9, capacity=60), sequence(500, capacity=600)

    todo = plan([], [ready, prompt], LIMITS, 0)

    assert [(part.start, part.stop) for part in todo.prefill] == [(0, 64)]


def test_short_prompts_ride_along_whole() -> None:
    prompts = [
        sequence(90, capacity=140),
        sequence(500, capacity=600),
        sequence(120, capacity=170),
        sequence(80, capacity=130),
    ]

    todo = plan([], prompts, LIMITS, 0)

    assert [(part.sequence, part.stop) for part in todo.prefill] == [
        (prompts[0], 90),
        (prompts[3], 80),
    ]  # 86 tokens are left: not enough for the one of 120


def test_in_exact_mode_a_prompt_is_computed_alone_and_in_whole_chunks() -> None:
    exact = replace(LIMITS, is_exact=True)
    ready, short, long = sequence(10, computed=9, capacity=60), sequence(40, capacity=90), sequence(500, capacity=600)

    todo = plan([], [ready, long, short], exact, 0)

    assert [(part.sequence, part.start, part.stop) for part in todo.prefill] == [(long, 0, 128)]


@pytest.mark.parametrize(
    ("computed", "chunk"), [(128, (128, 200)), (200, (200, 201)), (220, (220, 221))], ids=["prompt", "first", "later"]
)
def test_in_exact_mode_what_was_decoded_is_computed_again_row_by_row(computed: int, chunk: tuple[int, int]) -> None:
    back = sequence(230, computed=computed, capacity=400, num_prompt=200)

    todo = plan([], [back], replace(LIMITS, is_exact=True), 0)

    assert [(part.start, part.stop) for part in todo.prefill] == [chunk]


def test_who_is_not_ready_lets_others_pass() -> None:
    slow, other = sequence(50, prefetched=SimpleNamespace(is_done=False)), sequence(40)

    assert [growth.sequence for growth in plan([slow, other], [], LIMITS, 0).admit] == [other]


@pytest.mark.parametrize(
    ("spare", "admitted", "short"), [(None, 2, False), (700, 1, True), (100, 0, True), (9999, 2, False)]
)
def test_admission_is_held_back_when_the_machine_is_short_of_memory(
    spare: int | None, admitted: int, short: bool
) -> None:
    waiting = [sequence(300, max_total=900), sequence(310, max_total=900)]

    todo = plan(waiting, [], LIMITS, 0, spare)

    assert [growth.sequence for growth in todo.admit] == waiting[:admitted]
    assert todo.short_of_memory == (Growth(waiting[admitted], waiting[admitted].num_tokens + 256) if short else None)


def test_who_matters_least_makes_room() -> None:
    urgent = sequence(2001, computed=2000, capacity=2000, max_total=4000, priority=-1, arrival=2)
    lesser = sequence(1900, computed=1899, capacity=2000, max_total=2000, arrival=1)

    todo = plan([], [lesser, urgent], LIMITS, 0)

    assert todo.preempt == (lesser,)
    assert [growth.sequence for growth in todo.grow] == [urgent]
