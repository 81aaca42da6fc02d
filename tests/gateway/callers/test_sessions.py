"""Sessions of the dashboard: who gets one, what it is good for, and when it ends."""

from dataclasses import dataclass

import pytest

from gateway.callers.sessions import FREE_ATTEMPTS, LASTS_S, LONGEST_WAIT_S, Attempts, Sessions
from gateway.errors import TooManyAttempts

SECRET = bytes(range(32))


@dataclass
class Clock:
    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_cookie_is_known_until_its_end() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, "key", clock)
    cookie, begun = sessions.begin()

    assert sessions.read(cookie) == begun
    clock.now_s += LASTS_S
    assert sessions.read(cookie) is None


def test_another_gateway_with_the_same_secret_and_key_knows_it() -> None:
    cookie, begun = Sessions(SECRET, "key").begin()

    assert Sessions(SECRET, "key").read(cookie) == begun


def test_another_admin_key_or_another_secret_ends_every_session() -> None:
    cookie, _ = Sessions(SECRET, "key").begin()

    assert Sessions(SECRET, "another key").read(cookie) is None
    assert Sessions(bytes(32), "key").read(cookie) is None


@pytest.mark.parametrize("cookie", ["", "x", "é", "AAAA", "A" * 76, "=" * 8])
def test_a_cookie_that_we_did_not_make_is_nobodys(cookie: str) -> None:
    assert Sessions(SECRET, "key").read(cookie) is None


def test_no_byte_of_a_cookie_can_be_changed() -> None:
    sessions = Sessions(SECRET, "key")
    cookie, _ = sessions.begin()
    changed = ["A" if letter != "A" else "B" for letter in cookie]

    for at in range(0, len(cookie), 5):
        assert sessions.read(cookie[:at] + changed[at] + cookie[at + 1 :]) is None


def test_what_was_logged_out_stays_out() -> None:
    sessions = Sessions(SECRET, "key")
    (cookie, begun), (other, _) = sessions.begin(), sessions.begin()
    sessions.end(begun)

    assert sessions.read(cookie) is None
    assert sessions.read(other) is not None


def test_every_session_has_a_word_of_its_own() -> None:
    sessions = Sessions(SECRET, "key")

    assert sessions.begin()[1].csrf != sessions.begin()[1].csrf


def test_wrong_keys_make_an_address_wait_longer_and_longer_and_nobody_else() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(FREE_ATTEMPTS):
        attempts.check("a")
        attempts.failed("a")

    with pytest.raises(TooManyAttempts) as first:
        attempts.check("a")
    attempts.check("b")
    clock.now_s += first.value.retry_after_s
    attempts.check("a")
    attempts.failed("a")
    with pytest.raises(TooManyAttempts) as second:
        attempts.check("a")
    assert second.value.retry_after_s > first.value.retry_after_s


def test_nobody_waits_longer_than_a_minute_and_the_right_key_forgets_it_all() -> None:
    attempts = Attempts(Clock())
    for _ in range(200):
        attempts.failed("a")
    with pytest.raises(TooManyAttempts) as refused:
        attempts.check("a")

    assert refused.value.retry_after_s <= LONGEST_WAIT_S
    attempts.succeeded("a")
    attempts.check("a")
