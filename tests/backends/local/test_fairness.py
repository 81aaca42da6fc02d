"""Turns: owners by what they were given, an owner's requests by priority and age, and who leaves a full queue."""

import random
from collections.abc import Sequence as Many

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local.engine.fairness import AGE_S, MANY_OWNERS, Shares, in_turn, pushed_out
from backends.local.engine.sequence import Sequence
from backends.local.params import Sampling


def sequence(owner: str = "", arrival: int = 0, **fields: object) -> Sequence:
    known = {"request": arrival, "index": 0, "token_ids": [1] * 100, "num_prompt": 100, "max_total": 200}
    plain = {"sampling": Sampling(), "eos_token_ids": frozenset(), "random": random.Random(0)}
    return Sequence(**{**known, **plain, "owner": owner, "arrival": arrival, **fields})  # type: ignore[arg-type]


def order(waiting: Many[Sequence], given: dict[str, int] | None = None, now_s: float = 0.0) -> list[int]:
    shares = Shares()
    for owner, tokens in (given or {}).items():
        shares.charge(owner, tokens)
    return [each.arrival for each in in_turn(waiting, shares, now_s)]


@pytest.mark.parametrize(
    ("waiting", "given", "turns"),
    [
        ([sequence("a", i) for i in range(3)], {}, [0, 1, 2]),
        ([sequence("a", 0), sequence("a", 1, priority=-1), sequence("a", 2, priority=3)], {}, [1, 0, 2]),
        ([*(sequence("flood", i) for i in range(4)), sequence("late", 4)], {}, [0, 4, 1, 2, 3]),
        ([sequence("a", 0), sequence("b", 1)], {"a": 500}, [1, 0]),
        ([sequence("a", 0, priority=-9), sequence("b", 1, priority=9)], {"a": 500}, [1, 0]),
        ([sequence("a", 0), sequence("a", 1, num_cached=0), sequence("b", 2)], {"a": 500}, [1, 2, 0]),
        ([sequence("a", i) for i in range(2)] + [sequence("b", 2 + i) for i in range(2)], {}, [0, 2, 1, 3]),
    ],
    ids=["arrival", "priority", "a flood", "given less", "priority is one's own", "preempted first", "by turns"],
)
def test_turns(waiting: list[Sequence], given: dict[str, int], turns: list[int]) -> None:
    assert order(waiting, given) == turns


@pytest.mark.parametrize(("waited", "turns"), [(2 * AGE_S, [1, 0]), (4 * AGE_S, [0, 1])])
def test_age_makes_up_for_priority(waited: float, turns: list[int]) -> None:
    old, urgent = sequence("a", 0, priority=3), sequence("a", 1, priority=0, arrived_s=waited)

    assert order([old, urgent], now_s=waited) == turns


def test_an_owner_who_was_away_has_saved_up_no_claim() -> None:
    shares = Shares()
    shares.arrive("busy", [])
    shares.charge("busy", 10_000)

    shares.arrive("back", ["busy"])

    assert shares["back"] == 10_000


def test_whoever_comes_and_goes_the_counters_stay_few() -> None:
    shares = Shares()
    shares.arrive("steady", [])
    for i in range(3 * MANY_OWNERS):
        shares.charge("steady", 10)
        shares.arrive(f"guest {i}", ["steady"])

    assert len(shares._given) <= MANY_OWNERS + 1


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_two_who_always_ask_get_the_same(rng: random.Random) -> None:
    """However long the requests of one are and however many it sends, the counters stay one request apart."""
    shares, served = Shares(), {"many": 0, "few": 0}
    shares.arrive("many", [])
    shares.arrive("few", ["many"])
    for step in range(200):
        waiting = [sequence("many", step * 10 + i, num_prompt=rng.randint(1, 900)) for i in range(5)]
        waiting.append(sequence("few", step * 10 + 9, num_prompt=rng.randint(1, 300)))
        first = in_turn(waiting, shares, 0.0)[0]
        shares.charge(first.owner, first.num_prompt)
        served[first.owner] += first.num_prompt

    assert abs(served["many"] - served["few"]) <= 900


@pytest.mark.parametrize(
    ("waiting", "owner", "gone"),
    [
        ("aaaa", "b", [3]),
        ("aaab", "b", [2]),
        ("aabb", "b", None),
        ("aaaa", "a", None),
        ("aabbbb", "c", [5]),
        ("", "a", None),
    ],
)
def test_the_owner_with_most_in_a_full_queue_makes_way(waiting: str, owner: str, gone: list[int] | None) -> None:
    queue = [sequence(name, i) for i, name in enumerate(waiting)]

    assert pushed_out(queue, owner, 1, 1) == gone
