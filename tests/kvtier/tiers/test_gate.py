import random

import pytest

from kvtier.tiers.base import Found
from kvtier.tiers.gate import TRY_EVERY, Gate, RecomputeCost

MIB = 1 << 20
RUN = [Found(bytes([i]), i * 256, (i + 1) * 256, 6 * MIB) for i in range(8)]


def true_seconds(start: int, num_tokens: int) -> float:
    return 4e-3 + 3e-4 * num_tokens + 2e-8 * num_tokens * start


def fitted(*, noise: float = 0.0, hiccups: float = 0.0, factor: float = 1.0) -> RecomputeCost:
    cost, dice = RecomputeCost(), random.Random(1)
    for i in range(200):
        start, num_tokens = i % 16 * 128, dice.choice([128, 128, 128, dice.randint(1, 127)])
        seconds = true_seconds(start, num_tokens) * factor * dice.uniform(1 - noise, 1 + noise)
        cost.observe(start, num_tokens, seconds * (20 if dice.random() < hiccups else 1))
    return cost


def chunked_seconds(start: int, stop: int) -> float:
    return sum(true_seconds(at, min(128, stop - at)) for at in range(start, stop, 128))


@pytest.mark.parametrize(("noise", "hiccups", "within"), [(0.0, 0.0, 0.01), (0.3, 0.0, 0.15), (0.2, 0.05, 0.35)])
def test_the_cost_of_computing_is_learned_from_chunks(noise: float, hiccups: float, within: float) -> None:
    cost = fitted(noise=noise, hiccups=hiccups)

    for start, stop in [(0, 2048), (1024, 1100), (512, 3000)]:
        assert cost.seconds(start, stop) == pytest.approx(chunked_seconds(start, stop), rel=within)


def test_nothing_is_claimed_before_a_few_chunks_were_seen() -> None:
    cost = RecomputeCost()
    cost.observe(0, 128, 0.05)

    assert cost.seconds(0, 1000) is None


def test_chunks_that_all_look_alike_are_enough() -> None:
    cost = RecomputeCost()
    for _ in range(50):
        cost.observe(0, 128, 0.05)

    assert cost.seconds(0, 1024) == pytest.approx(0.4, rel=0.05)


def test_a_machine_that_became_faster_is_believed() -> None:
    cost = fitted()
    before = cost.seconds(0, 2048)
    for i in range(300):
        cost.observe(i % 16 * 128, 128, true_seconds(i % 16 * 128, 128) / 4)

    after = cost.seconds(0, 2048)
    assert before is not None
    assert after == pytest.approx(before / 4, rel=0.2)


def test_an_unknown_tier_is_believed() -> None:
    assert Gate(fitted()).choose(RUN, 0, 2048).num_segments == 8
    assert Gate(RecomputeCost()).choose(RUN, 0, 2048).num_segments == 8


def test_a_fast_tier_loads_all_and_a_slow_one_nothing() -> None:
    fast, slow = Gate(fitted()), Gate(fitted())
    fast.observe(1e-3, 6 * MIB, 6e-3)
    slow.observe(1e-3, 6 * MIB, 6.0)

    assert fast.choose(RUN, 0, 2048).num_segments == 8
    verdict = slow.choose(RUN, 0, 2048)
    assert (verdict.num_segments, verdict.is_refused, slow.num_refused) == (0, True, 1)


def test_a_short_segment_behind_a_slow_answer_is_not_worth_asking_for() -> None:
    gate = Gate(fitted())
    gate.observe(0.5, 6 * MIB, 6e-3)

    assert gate.choose([Found(b"k", 0, 32, MIB)], 0, 32).num_segments == 0
    assert gate.choose(RUN, 0, 2048).num_segments == 8


def test_the_segment_that_costs_more_than_it_saves_is_left_out() -> None:
    gate = Gate(fitted())
    gate.observe(1e-3, 6 * MIB, 6e-3)
    run = [*RUN[:7], Found(b"fat", 7 * 256, 7 * 256 + 1, 600 * MIB)]

    verdict = gate.choose(run, 0, 2048)
    assert (verdict.num_segments, verdict.is_refused) == (7, True)


def test_a_refused_tier_is_tried_again_now_and_then_and_believed_when_it_is_better() -> None:
    gate = Gate(fitted())
    gate.observe(1e-3, 6 * MIB, 6.0)
    tries = [gate.choose(RUN, 0, 2048).num_segments for _ in range(TRY_EVERY)]
    assert tries == [0] * (TRY_EVERY - 1) + [8]

    for _ in range(12):
        gate.observe(1e-3, 48 * MIB, 0.02)
    assert gate.choose(RUN, 0, 2048).num_segments == 8
