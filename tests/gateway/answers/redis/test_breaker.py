"""The breaker before Redis, on a clock of the test's own."""

from gateway.answers.redis.breaker import LONGEST_S, SHORTEST_S, Breaker
from tests.contracts.answers_contract import Clock


def test_all_may_pass_until_one_fails_and_then_one_at_a_time() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    assert breaker.may_pass()
    assert breaker.may_pass()

    breaker.fail()
    assert not breaker.may_pass()
    clock.now_s += SHORTEST_S
    assert breaker.may_pass()
    assert not breaker.may_pass()  # while that one tries
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.may_pass()


def test_breaks_grow_to_a_bound_and_start_short_after_a_success() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(12):
        breaker.fail()
        clock.now_s += LONGEST_S
    breaker.fail()
    assert breaker.away_s == 12 * LONGEST_S
    clock.now_s += LONGEST_S / 2
    assert not breaker.may_pass()

    breaker.succeed()
    breaker.fail()
    clock.now_s += SHORTEST_S
    assert breaker.may_pass()


def test_who_gives_up_trying_lets_the_next_one_try() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.fail()
    clock.now_s += SHORTEST_S
    assert breaker.may_pass()

    breaker.give_up()
    assert breaker.may_pass()
