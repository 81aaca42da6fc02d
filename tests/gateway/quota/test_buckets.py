"""Limits as values: what drains, what is held, what ends with a day. No clock, no server."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.quota.buckets import Account, Need, Sums, enter, moment_of, settle
from gateway.settings.trust import Limits

NOON_S = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
NOON = moment_of(NOON_S)


def after(seconds: float) -> float:
    return NOON_S + seconds


def take(account: Account, limits: Limits, tokens: int = 0, at_s: float = NOON_S, money: float = 0.0) -> Account:
    (account,), entry = enter([account], [limits], Need(tokens, money), moment_of(at_s))
    assert entry.refusal is None
    return account


def why(account: Account, limits: Limits, tokens: int = 1, at_s: float = NOON_S) -> tuple[str, float] | None:
    """What stands in the way, and for how long."""
    _, entry = enter([account], [limits], Need(tokens), moment_of(at_s))
    refusal = entry.refusal or entry.shortage
    return None if refusal is None else (refusal.what, round(refusal.retry_after_s, 6))


def test_requests_of_a_minute_come_back_one_by_one() -> None:
    limits, account = Limits(requests_per_minute=6), Account()
    for _ in range(6):
        account = take(account, limits)
    assert why(account, limits) == ("requests", 10.0)
    assert why(account, limits, at_s=after(9.9)) is not None
    account = take(account, limits, at_s=after(10))
    assert why(account, limits, at_s=after(10)) == ("requests", 10.0)


def test_tokens_are_held_while_a_request_runs_and_what_it_did_not_use_comes_back() -> None:
    limits = Limits(tokens_per_minute=1000)
    account = take(Account(), limits, tokens=900)
    assert why(account, limits, tokens=200) == ("tokens", 6.0)
    account = settle(account, limits, Need(900), Sums(1, 0, 300), NOON)
    assert why(account, limits, tokens=700) is None
    assert why(account, limits, tokens=701) is not None


def test_who_used_more_than_was_guessed_waits_until_that_has_drained() -> None:
    limits = Limits(tokens_per_minute=1000)
    account = settle(take(Account(), limits, tokens=10), limits, Need(10), Sums(1, 0, 3000), NOON)
    assert why(account, limits, tokens=1) == ("tokens", 120.06)


def test_a_request_larger_than_the_limit_waits_for_all_of_it_and_is_not_shut_out_for_ever() -> None:
    limits = Limits(tokens_per_minute=100)
    assert why(Account(), limits, tokens=5000) is None
    assert why(take(Account(), limits, tokens=50), limits, tokens=5000) == ("tokens", 30.0)


def test_a_day_is_open_until_its_tokens_are_reached_and_opens_again_with_the_next() -> None:
    limits = Limits(tokens_per_day=100)
    account = settle(take(Account(), limits), limits, Need(), Sums(1, 0, 99), NOON)
    assert why(account, limits) is None
    assert why(take(account, limits, tokens=1), limits) == ("day", 12 * 3600)
    account = settle(account, limits, Need(), Sums(1, 0, 1), NOON)
    assert why(account, limits) == ("day", 12 * 3600)
    assert why(account, limits, at_s=after(12 * 3600)) is None


def test_a_month_ends_with_the_calendars() -> None:
    limits = Limits(tokens_per_month=10, money_per_month=1.0)
    account = settle(Account(), limits, Need(), Sums(1, 0, 10), NOON)
    end_s = datetime(2026, 12, 1, tzinfo=UTC).timestamp() - NOON_S
    assert why(account, limits) == ("month", end_s)
    assert why(account, limits, at_s=after(end_s)) is None
    assert why(settle(Account(), limits, Need(), Sums(1, 0, 1, 1.0), NOON), limits) == ("money", end_s)


def test_who_has_no_tokens_left_may_still_have_what_is_stored_unless_hits_count() -> None:
    account = settle(Account(), Limits(), Need(), Sums(1, 0, 10), NOON)
    for counts in (False, True):
        _, entry = enter([account], [Limits(tokens_per_day=10, count_hits=counts)], Need(5), NOON)
        assert (entry.refusal is not None, entry.shortage is not None) == (counts, not counts)


def test_a_key_is_refused_by_its_tenants_limit_and_then_nothing_is_taken_of_its_own() -> None:
    (tenant, key), entry = enter([Account(), Account()], [Limits(concurrent=0), Limits(concurrent=5)], Need(7), NOON)
    assert entry.refusal is not None
    assert (tenant.running, key.running, key.tokens) == (0, 0, 0.0)


def test_a_clock_that_jumps_shuts_nobody_out() -> None:
    limits = Limits(requests_per_minute=1, tokens_per_day=10)
    spent = settle(take(Account(), limits), limits, Need(), Sums(1, 0, 10), NOON)
    tomorrow, yesterday = after(86_400), after(-2 * 86_400)
    assert why(spent, limits, at_s=tomorrow) is None
    assert why(spent.at(limits, moment_of(yesterday)), limits, at_s=yesterday + 61) is None
    # a little behind is the same day
    ahead = spent.at(limits, moment_of(after(3600)))
    assert why(ahead, limits, at_s=after(3590)) == (
        "day",
        12 * 3600 - 3590,
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 400), st.floats(0, 30), st.booleans()), min_size=1, max_size=30
    )
)
def test_nothing_is_held_when_nothing_runs_and_the_sums_are_what_was_used(
    steps: list[tuple[int, int, float, bool]],
) -> None:
    limits = Limits(5, 600, 3, 3000)
    account, out, used, now_s = Account(), list[Need](), Sums(), NOON_S
    for guessed, spent, passed_s, ends in steps:
        now_s += passed_s
        moment = moment_of(now_s)
        if ends and out:
            now = Sums(1, 0, spent)
            account, used = settle(account, limits, out.pop(), now, moment), used + now
        else:
            (account,), entry = enter([account], [limits], Need(guessed), moment)
            if entry.refusal is None:
                out.append(Need() if entry.shortage else Need(guessed))
        assert account.running == len(out) <= 3
        assert account.held.tokens == sum(need.tokens for need in out)
    for need in out:
        account, used = settle(account, limits, need, Sums(1), moment), used + Sums(1)
    assert (account.running, account.held) == (0, Need())
    assert account.day.sums == used == replace(account.month.sums)
