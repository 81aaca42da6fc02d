"""Who comes in to the admin API, and in whose name a browser may speak to it."""

from dataclasses import replace

import pytest

from gateway.callers.auth import AdminRule
from gateway.callers.door import Door, Visit
from gateway.callers.sessions import FREE_ATTEMPTS, Attempts, Sessions
from gateway.errors import AdminRefused, NotAdmin, TooManyAttempts

KEY = "the key"


def door(key: str = KEY) -> Door:
    return Door(AdminRule(key, is_local=not key), Sessions(bytes(32), key), Attempts())


def visitor(here: Door, method: str = "GET", **says: str | None) -> Visit:
    """Who logged in and sends `method` from a page of ours."""
    cookie, session = here.log_in(Visit("POST", "gate.example", fetch_site="same-origin"), KEY)
    ours = Visit(method, "gate.example", cookie=cookie, csrf=session.csrf, fetch_site="same-origin")
    return replace(ours, **says)  # type: ignore[arg-type]


def test_the_key_opens_without_a_session_whatever_a_browser_says() -> None:
    door().admit(Visit("DELETE", "gate.example", authorization=f"Bearer {KEY}", fetch_site="cross-site"))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_a_session_opens_for_a_page_of_ours(method: str) -> None:
    here = door()
    here.admit(visitor(here, method))


def test_nobody_comes_in_without_key_and_session() -> None:
    with pytest.raises(NotAdmin):
        door().admit(Visit("GET", "gate.example"))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_session_does_not_open_for_a_page_of_another_site(method: str, site: str) -> None:
    here = door()
    with pytest.raises(AdminRefused):
        here.admit(visitor(here, method, fetch_site=site))


@pytest.mark.parametrize("csrf", [None, "", "x", "\udcff"])
def test_a_session_changes_nothing_without_its_own_word(csrf: str | None) -> None:
    here = door()
    with pytest.raises(AdminRefused):
        here.admit(visitor(here, "POST", csrf=csrf))


def test_the_word_of_another_session_is_not_its_own() -> None:
    here = door()
    with pytest.raises(AdminRefused):
        here.admit(visitor(here, "POST", csrf=visitor(here).csrf))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://gate.example.evil.example"])
def test_a_browser_that_does_not_say_the_site_is_known_by_its_origin(origin: str) -> None:
    here = door()
    here.admit(visitor(here, "POST", fetch_site=None, origin="https://gate.example"))
    with pytest.raises(AdminRefused):
        here.admit(visitor(here, "POST", fetch_site=None, origin=origin))


def test_nobody_is_logged_in_by_a_page_of_another_site() -> None:
    with pytest.raises(AdminRefused):
        door().log_in(Visit("POST", "gate.example", fetch_site="cross-site"), KEY)


def test_after_a_few_wrong_keys_even_the_right_one_waits() -> None:
    here = door()
    for _ in range(FREE_ATTEMPTS):
        with pytest.raises(NotAdmin):
            here.log_in(Visit("POST", "gate.example", address="10.0.0.9"), "wrong")

    with pytest.raises(TooManyAttempts):
        here.log_in(Visit("POST", "gate.example", address="10.0.0.9"), KEY)
    with pytest.raises(TooManyAttempts):
        here.admit(Visit("GET", "gate.example", address="10.0.0.9", authorization=f"Bearer {KEY}"))
    here.log_in(Visit("POST", "gate.example", address="10.0.0.10"), KEY)


def test_a_wait_is_told_in_seconds_that_are_enough_and_a_wrong_key_as_such() -> None:
    here = door()
    for _ in range(FREE_ATTEMPTS):
        with pytest.raises(NotAdmin, match=r"^That is not the admin key\.$"):
            here.log_in(Visit("POST", "gate.example"), "wrong")
    with pytest.raises(TooManyAttempts, match="again in 1 s"):
        here.log_in(Visit("POST", "gate.example"), KEY)


async def test_who_logged_out_is_admitted_no_more_by_what_was_opened_before() -> None:
    here = door()
    visit = visitor(here)
    bearer = Visit("GET", "gate.example", authorization=f"Bearer {KEY}")
    assert here.still_admits(visit)
    session = here.session_of(visit)
    assert session is not None
    await here.sessions.end(session)

    assert not here.still_admits(visit)
    assert here.still_admits(bearer)
    assert door("").still_admits(Visit("GET", "localhost"))


def test_without_a_key_this_machine_comes_in_and_no_page_of_another_site_does() -> None:
    here = door("")
    here.admit(Visit("POST", "localhost:8420", fetch_site="same-origin"))
    here.admit(Visit("POST", "127.0.0.1:8420"))
    with pytest.raises(AdminRefused):
        here.admit(Visit("GET", "localhost:8420", fetch_site="cross-site"))
    with pytest.raises(AdminRefused):
        here.admit(Visit("GET", "evil.example", fetch_site="same-origin"))
    here.admit(Visit("POST", "localhost:8420", origin="http://localhost:8420"))
    with pytest.raises(AdminRefused):
        here.admit(Visit("POST", "localhost:8420", origin="https://evil.example"))


def test_nothing_that_opens_is_shown() -> None:
    shown = repr(visitor(door(), authorization="Bearer the key"))
    assert "the key" not in shown
    assert "cookie" not in shown
