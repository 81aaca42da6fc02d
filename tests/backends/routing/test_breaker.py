"""When a backend that fails is left alone, and how it comes back."""

from backends.routing.breaker import Breaker, BreakerRule, Circuit

RULE = BreakerRule(failures=3, share=0.5, window=6, open_s=5, max_open_s=12)


def failed(breaker: Circuit, *times_s: float) -> Circuit:
    for now_s in times_s:
        breaker.failed(now_s)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    broken, shaky = failed(Circuit(RULE), 0, 0, 0), failed(Circuit(RULE), 0, 0)
    shaky.succeeded(is_probe=False)
    failed(shaky, 1, 1)

    assert (broken.state(1), broken.allows(1), broken.wait_s(1)) == ("open", False, 4)
    assert (shaky.state(1), shaky.allows(1)) == ("closed", True)


def test_half_of_the_last_requests_failing_opens_it_too() -> None:
    breaker = Circuit(RULE)
    for _ in range(3):
        breaker.failed(0)
        breaker.succeeded(is_probe=False)

    assert breaker.state(0) == "closed"
    breaker.failed(0)
    assert breaker.state(0) == "open"


def test_after_its_rest_one_request_may_try_and_its_success_closes_it() -> None:
    breaker = failed(Circuit(RULE), 0, 0, 0)
    assert breaker.state(5) == "half_open"
    is_probe = breaker.begin(5)

    assert (is_probe, breaker.allows(5)) == (True, False)
    breaker.succeeded(is_probe)
    breaker.end(is_probe)
    assert (breaker.state(5), breaker.allows(5)) == ("closed", True)


def test_every_failed_trial_rests_it_twice_as_long_up_to_a_bound() -> None:
    breaker = failed(Circuit(RULE), 0, 0, 0)
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
    breaker = failed(Circuit(RULE), 0, 0, 0)
    breaker.end(breaker.begin(6))

    assert (breaker.state(6), breaker.allows(6)) == ("half_open", True)


def test_what_began_before_it_opened_neither_closes_it_nor_prolongs_its_rest() -> None:
    breaker = failed(Circuit(RULE), 0, 0, 0)
    failed(breaker, 1, 2)
    breaker.succeeded(is_probe=False)

    assert breaker.wait_s(2) == 3


def test_without_a_number_of_failures_it_never_opens() -> None:
    assert failed(Circuit(BreakerRule(failures=0)), *range(100)).allows(100)


def test_a_trial_that_says_nothing_for_a_rests_time_lets_another_try() -> None:
    circuit = failed(Circuit(RULE), 0, 0, 0)

    assert [circuit.begin(5), circuit.allows(9), circuit.allows(10), circuit.begin(10)] == [True, False, True, True]


def test_the_first_word_of_a_trial_closes_it_and_the_next_rest_is_longer_all_the_same() -> None:
    circuit = failed(Circuit(RULE), 0, 0, 0)
    circuit.begin(5)
    circuit.spoke()
    assert circuit.state(5) == "closed"
    failed(circuit, 6, 6, 6)

    assert circuit.wait_s(6) == 10


def see(breaker: Breaker, *owners: str, now_s: float = 0, is_certain: bool = False) -> Breaker:
    """Each of them sees a failure."""
    for owner in owners:
        permit = breaker.begin(now_s, owner)
        breaker.failed(permit, now_s, is_certain=is_certain)
        breaker.end(permit)
    return breaker


def test_what_one_tenant_saw_opens_it_for_nobody_else() -> None:
    breaker = see(Breaker(RULE), *"a" * 50)

    assert (breaker.state(1), breaker.allows(1, "a"), breaker.allows(1, "b")) == ("closed", False, True)
    assert (breaker.num_shut_out(1), breaker.wait_s(1), breaker.wait_s(1, "a")) == (1, 0, 4)


def test_what_two_tenants_saw_opens_it_for_everybody_and_one_of_them_is_not_enough() -> None:
    assert see(Breaker(BreakerRule(failures=5)), *"aaaab").state(1) == "closed"
    assert see(Breaker(BreakerRule(failures=5)), *"aaaabb").state(1) == "open"
    assert see(Breaker(RULE), *"aaa", is_certain=True).state(1) == "open"


def test_a_share_of_one_tenants_failures_opens_it_for_nobody_else() -> None:
    breaker = Breaker(RULE)
    for _ in range(20):
        see(breaker, "a", "a")
        breaker.succeeded(breaker.begin(0, "b"))

    assert (breaker.allows(0, "b"), breaker.allows(0, "a")) == (True, False)


def test_a_tenants_failed_trial_keeps_nobody_else_out() -> None:
    breaker = see(Breaker(RULE), *"aab")
    see(breaker, "a", now_s=6)
    assert (breaker.state(6), breaker.allows(6, "a"), breaker.allows(6, "b")) == ("half_open", False, True)

    see(breaker, "b", now_s=6)
    assert (breaker.state(6), breaker.wait_s(6)) == ("open", 10)


def test_a_tenants_own_circuit_closes_by_its_own_trial() -> None:
    breaker = see(Breaker(RULE), *"aaa")
    permit = breaker.begin(5, "a")
    assert (permit.is_probe, permit.is_own_probe, breaker.allows(5, "a")) == (False, True, False)
    breaker.spoke(permit)

    assert (breaker.allows(5, "a"), permit.is_own_probe) == (True, False)
