"""When a backend that fails is left alone, and how it comes back."""

from backends.routing.breaker import Breaker, BreakerRule

RULE = BreakerRule(failures=3, share=0.5, window=6, open_s=5, max_open_s=12)


def failed(breaker: Breaker, *times_s: float) -> Breaker:
    for now_s in times_s:
        breaker.failed(now_s)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    broken, shaky = failed(Breaker(RULE), 0, 0, 0), failed(Breaker(RULE), 0, 0)
    shaky.succeeded(is_probe=False)
    failed(shaky, 1, 1)

    assert (broken.state(1), broken.allows(1), broken.wait_s(1)) == ("open", False, 4)
    assert (shaky.state(1), shaky.allows(1)) == ("closed", True)


def test_half_of_the_last_requests_failing_opens_it_too() -> None:
    breaker = Breaker(RULE)
    for _ in range(3):
        breaker.failed(0)
        breaker.succeeded(is_probe=False)

    assert breaker.state(0) == "closed"
    breaker.failed(0)
    assert breaker.state(0) == "open"


def test_after_its_rest_one_request_may_try_and_its_success_closes_it() -> None:
    breaker = failed(Breaker(RULE), 0, 0, 0)
    assert breaker.state(5) == "half_open"
    is_probe = breaker.begin(5)

    assert (is_probe, breaker.allows(5)) == (True, False)
    breaker.succeeded(is_probe)
    breaker.end(is_probe)
    assert (breaker.state(5), breaker.allows(5)) == ("closed", True)


def test_every_failed_trial_rests_it_twice_as_long_up_to_a_bound() -> None:
    breaker = failed(Breaker(RULE), 0, 0, 0)
    waits: list[float] = []
    for _ in range(3):
        now_s = 100.0 * (len(waits) + 1)
        is_probe = breaker.begin(now_s)
        breaker.failed(now_s)
        breaker.end(is_probe)
        waits.append(breaker.wait_s(now_s))

    assert waits == [10, 12, 12]
    assert breaker.times_opened == 4


def test_a_trial_whose_caller_left_says_nothing_and_the_next_may_try() -> None:
    breaker = failed(Breaker(RULE), 0, 0, 0)
    breaker.end(breaker.begin(6))

    assert (breaker.state(6), breaker.allows(6)) == ("half_open", True)


def test_what_began_before_it_opened_neither_closes_it_nor_prolongs_its_rest() -> None:
    breaker = failed(Breaker(RULE), 0, 0, 0)
    failed(breaker, 1, 2)
    breaker.succeeded(is_probe=False)

    assert breaker.wait_s(2) == 3


def test_without_a_number_of_failures_it_never_opens() -> None:
    assert failed(Breaker(BreakerRule(failures=0)), *range(100)).allows(100)
