"""Events of the feed: what is read of them, and what several come to. No server."""

import pytest

from gateway.shared.feed import Event, Kind, News, event_of, news_of

SCOPE, COMPAT, EXACT = b"s" * 32, b"c" * 32, b"x" * 32


def event(kind: Kind, name: str = "e_1", replica: bytes = b"other", scope: bytes = SCOPE) -> Event:
    return Event(kind, replica, scope, COMPAT, EXACT, name)


def one(*kinds: Kind) -> News:
    (news,) = news_of([event(kind) for kind in kinds])
    return news


def test_an_event_is_read_as_it_was_written() -> None:
    for kind in ("put", "vec", "gone", "out", "chg"):
        assert event_of(event(kind).fields()) == event(kind)


@pytest.mark.parametrize(
    "change", [{b"k": b"new"}, {b"s": b"short"}, {b"i": b""}, {b"i": b"\xff"}, {b"k": b"here"}, {b"k": b"\xff"}]
)
def test_what_no_replica_of_this_version_writes_is_passed_over(change: dict[bytes, bytes]) -> None:
    assert event_of(event("put").fields() | change) is None


def test_what_a_replica_did_itself_is_no_news_to_it() -> None:
    assert news_of([event("put", replica=b"me")], own=b"me") == []


def test_news_are_by_scope_and_name_and_in_the_order_of_the_last_event() -> None:
    events = [event("put", "a"), event("put", "b"), event("chg", "a"), event("put", "a", scope=b"t" * 32)]

    assert [(news.scope[:1], news.id) for news in news_of(events)] == [(b"s", "b"), (b"s", "a"), (b"t", "a")]


def test_a_vector_makes_nothing_in_memory_stale() -> None:
    assert not one("vec").is_stale
    assert one("put", "vec").is_stale
    assert one("put", "vec").has_vector


def test_the_last_word_says_whether_an_entry_is_there() -> None:
    assert one("put", "gone").is_there is False
    assert one("gone", "put").is_there is True
    assert one("gone", "put").was_removed  # its old vector and its labels' words go all the same
    assert one("put", "vec", "put").has_vector is False


def test_who_was_let_go_was_not_removed_on_purpose() -> None:
    assert (one("out").was_removed, one("out").was_let_go) == (False, True)
    assert (one("gone").was_removed, one("gone").was_let_go) == (True, False)
    assert not one("chg").is_there  # nothing new to be found
