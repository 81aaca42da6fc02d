"""Sessions of the dashboard: who gets one, what it is good for, and when it ends."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.callers.sessions import ENDED_FILE, FREE_ATTEMPTS, LASTS_S, LONGEST_WAIT_S, Attempts, Sessions
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


async def test_what_was_logged_out_stays_out() -> None:
    sessions = Sessions(SECRET, "key")
    (cookie, begun), (other, _) = sessions.begin(), sessions.begin()
    await sessions.end(begun)

    assert sessions.read(cookie) is None
    assert sessions.read(other) is not None


async def test_what_was_logged_out_stays_out_after_a_restart(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / ENDED_FILE
    before = Sessions(SECRET, "key", clock, file)
    (cookie, begun), (other, _) = before.begin(), before.begin()
    await before.end(begun)
    after = Sessions(SECRET, "key", clock, file)

    assert after.read(cookie) is None
    assert after.read(other) is not None
    assert file.stat().st_mode & 0o777 == 0o600


async def test_what_was_logged_out_while_the_clock_was_ahead_stays_out_when_it_is_right(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / ENDED_FILE
    sessions = Sessions(SECRET, "key", clock, file)
    (cookie, begun), (_, other) = sessions.begin(), sessions.begin()
    clock.now_s += 2 * LASTS_S
    await sessions.end(begun)
    await sessions.end(other)
    clock.now_s -= 2 * LASTS_S

    for one in (sessions, Sessions(SECRET, "key", clock, file)):
        assert one.read(cookie) is None


async def test_so_many_that_were_logged_out_are_remembered_and_the_oldest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.callers.sessions.MAX_ENDED", 2)
    sessions = Sessions(SECRET, "key", file=tmp_path / ENDED_FILE)
    begun = [sessions.begin() for _ in range(3)]
    for _, session in begun:
        await sessions.end(session)

    assert [sessions.read(cookie) is None for cookie, _ in begun] == [False, True, True]
    assert len(json.loads((tmp_path / ENDED_FILE).read_text())) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"00": null}', "\udcff"], ids=ascii)
async def test_a_broken_list_of_what_was_logged_out_ends_nothing_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / ENDED_FILE
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    cookie, begun = Sessions(SECRET, "key").begin()
    sessions = Sessions(SECRET, "key", file=file)

    assert sessions.read(cookie) == begun


async def test_who_logs_out_is_out_where_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file, no folder")
    sessions = Sessions(SECRET, "key", file=tmp_path / "a" / ENDED_FILE)
    cookie, begun = sessions.begin()
    await sessions.end(begun)

    assert sessions.read(cookie) is None


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
