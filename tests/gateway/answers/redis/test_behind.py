"""Writes that wait for Redis: order, bounds, and what is never lost without a word."""

from gateway.answers.base import unembedded_of
from gateway.answers.redis.behind import MAX_REMOVALS, Behind, Put, Remove, Vector
from gateway.answers.selection import Selection
from tests.contracts.answers_contract import digest, entry_of


def put(name: str, size_bytes: int = 100) -> Put:
    return Put(entry_of(name), size_bytes)


def vector(name: str) -> Vector:
    row = unembedded_of(entry_of(name))
    assert row is not None
    return Vector(row, "mini@1", b"1234")


def test_writes_of_one_entry_are_done_one_after_another_and_others_together() -> None:
    behind = Behind(10_000)
    for write in (put("a"), put("b"), vector("a"), put("c")):
        behind.add(write)

    assert behind.first(10) == [put("a"), put("b")]
    behind.done(behind.first(2))
    assert behind.first(10) == [vector("a"), put("c")]


def test_a_removal_is_done_alone_and_after_what_came_before() -> None:
    behind = Behind(10_000)
    behind.add(put("a"))
    behind.remove(Selection())
    behind.add(put("b"))

    assert behind.first(10) == [put("a")]
    behind.done(behind.first(1))
    assert behind.first(10) == [Remove(Selection())]


def test_what_does_not_fit_is_refused_and_counted() -> None:
    behind = Behind(250)

    assert [behind.add(put(name)) for name in "abc"] == [True, True, False]
    assert (len(behind), behind.size_bytes, behind.dropped) == (2, 200, 1)
    behind.done(behind.first(2))
    assert behind.add(put("c"))


def test_what_waits_is_found_and_what_waits_to_be_removed_is_hidden() -> None:
    behind = Behind(10_000)
    behind.add(put("a"))
    assert behind.find(digest("s"), digest("a")) == entry_of("a")

    behind.remove(Selection(id="e_a"))
    assert behind.find(digest("s"), digest("a")) is None
    assert behind.hides(entry_of("a"))
    assert not behind.hides(entry_of("b"))
    behind.add(put("a"))
    assert behind.find(digest("s"), digest("a")) == entry_of("a")  # put after it


def test_too_many_removals_become_the_removal_of_everything() -> None:
    behind = Behind(10_000)
    behind.add(put("a"))
    for number in range(MAX_REMOVALS + 1):
        behind.remove(Selection(id=f"e_{number}"))

    assert behind.first(10) == [Remove(Selection())]
    assert (len(behind), behind.dropped) == (1, 1)
    assert behind.hides(entry_of("anything"))


def test_what_became_the_removal_of_everything_while_a_removal_was_under_way_is_still_to_be_done() -> None:
    behind = Behind(10_000)
    behind.add(put("a"))
    for number in range(MAX_REMOVALS):
        behind.remove(Selection(id=f"e_{number}"))
    behind.done(behind.first(1))
    under_way = behind.first(1)
    behind.remove(Selection(id="e_one_too_many"))
    behind.done(under_way)

    assert behind.first(10) == [Remove(Selection())]
    assert behind.find(digest("s"), digest("a")) is None
    behind.done(behind.first(1))
    assert (len(behind), behind.size_bytes) == (0, 0)
