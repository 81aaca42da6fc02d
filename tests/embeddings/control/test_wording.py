"""Hits by bare form: a lane serves them from the start, and stops when they turn out wrong."""

import pytest

from embeddings.control import Label, Lane, Verdict
from tests.embeddings.control.texts import Even

ENTRY = "e"


def lane(target: float = 0.01, shadow_rate: float = 0.05) -> Lane:
    return Lane(Even(), target=target, shadow_rate=shadow_rate, seed=b"s")


def asked(one: Lane, times: int) -> list[Verdict]:
    return [one.decide_wording(f"please, what is {n}?", ENTRY) for n in range(times)]


def told(one: Lane, times: int, *, is_right: bool = True) -> None:
    for n in range(times):
        verdict = one.decide_wording(f"what is {n}?", ENTRY, is_shadow_only=True)
        assert verdict.probability is not None
        one.learn(Label(f"what is {n}?", "", ENTRY, is_right, "shadow", verdict.probability, (), True, was_hit=True))


def test_a_cold_lane_at_one_in_a_hundred_serves_them_and_does_not_run_dry() -> None:
    assert {verdict.action for verdict in asked(lane(shadow_rate=0.0), 500)} == {"serve"}


def test_a_stricter_target_wants_to_see_some_first() -> None:
    strict = lane(target=0.001, shadow_rate=0.0)
    assert asked(strict, 1)[0].action == "pass"
    told(strict, 1000)

    assert asked(strict, 1)[0].action == "serve"


def test_one_that_was_wrong_stops_all_until_enough_were_right() -> None:
    told_of = lane(shadow_rate=0.0)
    told(told_of, 20)
    told(told_of, 1, is_right=False)
    assert {verdict.action for verdict in asked(told_of, 20)} == {"pass"}
    told(told_of, 1000)

    assert asked(told_of, 1)[0].action == "serve"


def test_a_class_that_fails_more_often_than_the_target_is_not_served_whatever_was_saved() -> None:
    saved = lane(target=0.05, shadow_rate=0.0)
    told(saved, 1000)
    told(saved, 80, is_right=False)

    assert asked(saved, 1)[0].action == "pass"


def test_a_share_of_them_is_sampled_and_a_look_leaves_no_trace() -> None:
    sampled = lane(shadow_rate=0.25)
    before = sampled.threshold
    for n in range(50):
        assert sampled.decide_wording(f"what is {n}?", ENTRY, is_shadow_only=True).action == "shadow"
    assert (sampled.threshold, sampled.report().shadowed, sampled.report().served) == (before, 0, 0)
    shadowed = sum(verdict.action == "shadow" for verdict in asked(sampled, 400))

    assert 60 < shadowed < 140
    assert sampled.report().shadowed == shadowed


def test_what_came_of_them_is_in_the_report() -> None:
    known = lane()
    told(known, 30)
    told(known, 1, is_right=False)

    assert known.report().wrong_rate == 1 / 31


def test_a_user_who_takes_a_word_back_is_believed() -> None:
    turned, never = lane(), lane()
    told(turned, 1, is_right=False)
    told(never, 1)
    turned.learn(Label("what is 0?", "", ENTRY, True, "feedback", 0.997, (), True, was_hit=True, corrects=True))
    a, b = (one.decide_wording("q", ENTRY, is_shadow_only=True).probability for one in (turned, never))

    assert a == b


@pytest.mark.parametrize("is_restarted", [False, True])
def test_one_bad_word_of_a_user_stops_them_until_enough_were_right_and_not_for_good(*, is_restarted: bool) -> None:
    one = lane(shadow_rate=0.0)
    assert {verdict.action for verdict in asked(one, 40)} == {"serve"}
    if is_restarted:
        one = lane(shadow_rate=0.0)  # an account without hits: labels are what is kept
    one.learn(Label("what is 0?", "", ENTRY, False, "feedback", 0.997, (), True, was_hit=True))
    assert {verdict.action for verdict in asked(one, 40)} == {"pass"}
    told(one, 400)

    assert {verdict.action for verdict in asked(one, 40)} == {"serve"}


def test_the_first_hits_of_a_lane_are_served_whatever_is_drawn() -> None:
    first = [asked(Lane(Even(), shadow_rate=0.9, seed=bytes([n])), 3) for n in range(20)]

    assert {verdict.action for verdicts in first for verdict in verdicts} == {"serve"}
