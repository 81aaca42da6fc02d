"""A removal holds for what began before it, wherever that waits and whatever clocks say; what begins later is kept."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.answers.base import CacheError, Mark, Overtaken
from gateway.answers.memory import MemoryAnswers
from gateway.answers.redis import removals
from gateway.answers.redis.connection import Away, Link
from gateway.answers.redis.removals import NOTHING, selection_of, spelled
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Selection
from gateway.answers.tiered import TieredAnswers
from tests.contracts.answers_contract import Clock, digest, entry_of
from tests.gateway.answers.redis.conftest import PATIENCE_S, SECRET, store_of
from tests.gateway.answers.redis.test_trouble import refused_as, until_flushed
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis
NOW_S = 1_000_000.0
KEY = digest("s"), digest("a")


class Cuttable(Link):
    """A link that a test may cut: the server is there for the others."""

    is_cut = False

    async def _connected(self, *, is_patient: bool) -> object:  # type: ignore[override]
        if self.is_cut:
            raise OSError("cut")
        return await super()._connected(is_patient=is_patient)


@pytest.fixture
async def far_link(server: RedisServer) -> AsyncIterator[Cuttable]:
    link = Cuttable(server.url, SECRET, timeout_s=PATIENCE_S)
    yield link
    await link.close()


@pytest.fixture
async def late(far_link: Cuttable, clock: Clock) -> AsyncIterator[RedisAnswers]:
    """Another gateway's store, whose link can be cut."""
    store = store_of(far_link, clock, replica=b"b")
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("skew_s", [-120.0, -2.0, 5.0, 120.0])
async def test_a_removal_holds_whatever_clocks_say(store: RedisAnswers, server: RedisServer, skew_s: float) -> None:
    link = Link(server.url, SECRET, timeout_s=PATIENCE_S)
    skewed = store_of(link, Clock(NOW_S + skew_s), replica=b"b")
    await skewed.open()
    for selection in (Selection(id="e_a"), Selection(tag="x"), Selection(model="m"), Selection()):
        await store.put(replace(entry_of("a"), tags=("x",)))
        assert len(await skewed.remove_all(selection)) == 1
        assert await store.get(*KEY) is None
    await store.put(entry_of("a"))
    assert await skewed.remove(digest("s"), "e_a")
    assert await store.get(*KEY) is None
    await skewed.put(entry_of("a", created_s=NOW_S + skew_s))
    assert len(await store.remove_all(Selection())) == 1
    await skewed.close()
    await link.close()


@pytest.mark.parametrize("skew_s", [-120, 120])
async def test_what_ends_ends_at_the_same_moment_for_clocks_that_differ(
    server: RedisServer, link: Link, skew_s: int
) -> None:
    now_s = time.time()
    right, wrong = Clock(now_s), Clock(now_s + skew_s)
    one, other = store_of(link, right), store_of(link, wrong, replica=b"b")
    await one.open()
    await other.open()
    assert one.state == "ready"
    assert "this machine's clock is 1" in other.state
    await one.put(replace(entry_of("a"), created_s=right(), expires_s=right() + 60))
    await other.put(replace(entry_of("b"), created_s=wrong(), expires_s=wrong() + 60))
    for passed_s, is_fresh in ((55, True), (10, False)):
        for clock in (right, wrong):
            clock.now_s += passed_s
        for store, now in ((one, right), (other, wrong)):
            for name in "ab":
                found = await store.get(digest("s"), digest(name))
                assert found is not None
                assert found.is_fresh(now()) is is_fresh
    await other.prolong(digest("s"), "e_a", wrong() + 60)
    await other.close()
    found = await one.get(*KEY)
    assert found is not None
    assert found.expires_s == pytest.approx(right() + 60, abs=2)
    await one.close()


@pytest.mark.parametrize("selection", [Selection(), Selection(id="e_a", scope=digest("s")), Selection(text="HELLO")])
async def test_what_waited_through_a_removal_elsewhere_does_not_come_back(
    store: RedisAnswers, late: RedisAnswers, far_link: Cuttable, selection: Selection
) -> None:
    far_link.is_cut = True
    await late.put(entry_of("a"))
    assert await late.get(*KEY) == entry_of("a")
    await store.remove_all(selection)
    await store.remove_all(Selection(model="another"))  # the last one is not the only one

    far_link.is_cut = False
    await until_flushed(late)
    assert await store.get(*KEY) is None
    assert await late.get(*KEY) is None
    assert late.report()["overtaken"] == 1


async def test_what_no_removal_selects_comes_through(
    store: RedisAnswers, late: RedisAnswers, far_link: Cuttable
) -> None:
    far_link.is_cut = True
    for name in ("a", "b"):
        await late.put(entry_of(name))
    await store.remove_all(Selection(id="e_b"))

    far_link.is_cut = False
    await until_flushed(late)
    assert [await store.get(digest("s"), digest(name)) for name in ("a", "b")] == [entry_of("a"), None]


async def test_a_removal_that_waits_holds_for_what_waits_elsewhere_and_not_for_what_is_put_behind_it(
    store: RedisAnswers, link: Link, late: RedisAnswers, far_link: Cuttable, server: RedisServer, clock: Clock
) -> None:
    own = Cuttable(server.url, SECRET, timeout_s=PATIENCE_S)
    first = store_of(own, clock, replica=b"c")
    await first.open()
    own.is_cut = far_link.is_cut = True
    await late.put(entry_of("a"))
    assert isinstance(await refused_as(first.remove_all(Selection())), Away)
    clock.now_s -= 3600  # a clock that was set
    await first.put(entry_of("b", created_s=clock.now_s))
    assert await first.get(digest("s"), digest("b")) is not None

    own.is_cut = False
    await until_flushed(first)
    far_link.is_cut = False
    await until_flushed(late)
    assert await store.get(*KEY) is None
    assert await store.get(digest("s"), digest("b")) is not None
    await first.close()
    await own.close()


async def test_what_waited_through_more_removals_than_are_remembered_is_dropped(
    store: RedisAnswers, late: RedisAnswers, far_link: Cuttable, link: Link
) -> None:
    await store.remove_all(Selection(id="e_x"))
    late.heard(store.mark(), Selection(id="e_x"))
    far_link.is_cut = True
    await late.put(entry_of("a"))
    await store.remove_all(Selection(id="e_y"))
    await link.call("XTRIM", link.name("removals"), "MAXLEN", 1)

    far_link.is_cut = False
    await until_flushed(late)
    assert await store.get(*KEY) is None
    assert late.report()["overtaken"] == 1


async def test_an_answer_that_began_before_a_removal_is_not_kept_and_the_next_one_is(
    store: RedisAnswers, late: RedisAnswers
) -> None:
    began = Mark(0, late.mark())
    await store.remove_all(Selection())
    with pytest.raises(Overtaken):
        await late.put(replace(entry_of("a"), began=began))
    assert await store.get(*KEY) is None

    await late.put(replace(entry_of("a"), began=Mark(0, late.mark())))
    await store.put(entry_of("b"))
    assert await late.get(*KEY) == entry_of("a")
    assert await store.size() == 2


async def test_a_shelf_that_was_emptied_still_knows_of_it(store: RedisAnswers, late: RedisAnswers) -> None:
    began = Mark(0, late.mark())
    await store.put(entry_of("a"))
    await store.remove_all(Selection())
    await store.put(entry_of("a"))  # the shelf begins anew
    await store.remove(digest("s"), "e_a")
    with pytest.raises(Overtaken):
        await late.put(replace(entry_of("a"), began=began))
    assert await store.size() == 0


async def test_an_answer_that_began_before_a_removal_here_is_not_kept_in_memory_either(store: RedisAnswers) -> None:
    answers = TieredAnswers(MemoryAnswers(1 << 20), store)
    began = answers.begin()
    assert not answers.is_overtaken(began, "e_a")
    await answers.remove_all(Selection(tag="x"))
    assert answers.is_overtaken(began, "e_a")
    tagged, other = (replace(entry_of(name), tags=tags, began=began) for name, tags in (("a", ("x",)), ("b", ())))
    for entry, is_kept in ((tagged, False), (other, True)):
        answers.put_now(entry)
        assert await answers.settle(entry) is is_kept
        assert (answers.get_now(entry.scope, entry.exact) is not None) is is_kept

    later = answers.begin()
    await answers.remove(digest("s"), "e_b")
    assert not answers.is_overtaken(later, "e_a")
    assert answers.is_overtaken(later, "e_b")


async def test_what_others_remove_leaves_memory_and_the_queue_and_is_not_made_to_last(
    late: RedisAnswers, far_link: Cuttable
) -> None:
    answers = TieredAnswers(MemoryAnswers(1 << 20), late)
    far_link.is_cut = True
    await answers.put(entry_of("a"))
    answers.put_now(made := entry_of("b"))
    assert [gone.id for gone in answers.forget_all_near(Selection())] == ["e_a", "e_b"]
    late.heard(b"0000000000000001-0000000000", Selection())
    assert not await answers.settle(made)
    with pytest.raises(CacheError):
        await answers.get(*KEY)


async def test_who_does_not_know_what_was_missed_keeps_nothing_that_began_before(store: RedisAnswers) -> None:
    answers = TieredAnswers(MemoryAnswers(1 << 20), store)
    began = answers.begin()
    answers.put_now(waits := entry_of("b"))
    answers.clear_near()

    assert answers.is_overtaken(began, "e_a")
    await answers.put(replace(entry_of("a"), began=began))
    assert answers.get_now(*KEY) is None
    assert await store.get(*KEY) is None
    assert await answers.settle(waits)
    await answers.put(later := replace(entry_of("a"), began=answers.begin()))
    assert answers.get_now(*KEY) == later


async def test_what_the_store_refuses_as_removed_leaves_memory(store: RedisAnswers, late: RedisAnswers) -> None:
    answers = TieredAnswers(MemoryAnswers(1 << 20), late)
    began = answers.begin()
    await store.remove_all(Selection(id="e_a"))  # nothing of it was heard here
    answers.put_now(made := replace(entry_of("a"), began=began))
    answers.put_now(other := replace(entry_of("b"), began=began))

    assert not await answers.settle(made)
    assert answers.get_now(*KEY) is None
    assert await answers.settle(other)
    assert answers.get_now(other.scope, other.exact) == other


async def test_what_waited_through_a_removal_elsewhere_leaves_memory_too(
    store: RedisAnswers, late: RedisAnswers, far_link: Cuttable
) -> None:
    answers = TieredAnswers(MemoryAnswers(1 << 20), late)
    far_link.is_cut = True
    await answers.put(replace(entry_of("a"), began=answers.begin()))
    assert answers.get_now(*KEY) is not None
    await store.remove_all(Selection(id="e_a"))

    far_link.is_cut = False
    await until_flushed(late)
    assert answers.get_now(*KEY) is None


async def test_who_started_while_redis_was_away_keeps_what_begins_after_it_is_back(
    store: RedisAnswers, link: Link, far_link: Cuttable, clock: Clock
) -> None:
    for name in ("e_x", "e_y"):
        await store.remove_all(Selection(id=name))
    row = ("XADD", link.name("removals"), "*", "r", "a", "b", spelled(Selection(id="e_z")))
    await link.together([row] * removals.MOST)
    await link.call("XTRIM", link.name("removals"), "MAXLEN", removals.MOST)
    await store.remove_all(Selection(id="e_z"))
    late = store_of(far_link, clock, replica=b"b")  # could not be opened

    with pytest.raises(Overtaken):
        await late.put(replace(entry_of("a"), began=Mark(0, late.mark())))  # nobody knows what it is older than
    assert late.mark() == store.mark()
    asked = far_link.commands
    await late.put(replace(entry_of("b"), began=Mark(0, late.mark())))
    assert far_link.commands <= asked + 2  # itself, and where it lies
    assert await store.get(digest("s"), digest("b")) is not None
    await late.close()


async def test_what_is_not_ours_under_the_name_of_the_log_makes_way(
    store: RedisAnswers, late: RedisAnswers, link: Link
) -> None:
    await store.put(entry_of("a"))
    for remove in (lambda: store.remove_all(Selection()), lambda: store.remove(digest("s"), "e_a")):
        await store.put(entry_of("a"))
        began = Mark(0, late.mark())
        await link.call("SET", link.name("removals"), "x")
        assert await remove()
        assert await store.get(*KEY) is None
        await link.call("SET", link.name("removals"), "x")
        with pytest.raises(Overtaken):  # nobody knows any more
            await late.put(replace(entry_of("a"), began=began))
        assert await store.get(*KEY) is None


async def test_a_place_that_is_none_does_not_hide_removals(store: RedisAnswers, late: RedisAnswers) -> None:
    for place in (b"zzz", b"", b"9", b"99999999999999999-0000000000"):
        late.heard(place, Selection(id="e_q"))
    began = Mark(0, late.mark())
    await store.remove_all(Selection())
    with pytest.raises(Overtaken):
        await late.put(replace(entry_of("a"), began=began))


async def test_an_answer_is_not_judged_by_what_was_removed_before_it_began(
    store: RedisAnswers, late: RedisAnswers
) -> None:
    places = []
    for name in ("e_x", "e_a", "e_y"):
        await store.remove_all(Selection(id=name))
        places.append(store.mark())
    await late.put(replace(entry_of("b"), began=Mark(0, places[0])))  # reads all that came after
    await late.put(replace(entry_of("a"), began=Mark(0, places[1])))
    assert await store.size() == 2


def test_a_selection_that_is_too_long_is_made_wider() -> None:
    narrow = Selection(scope=b"s" * 32, exact=b"\xff" * 32, tag="t", before_s=1.5, text="x", canonical=b"c")
    assert selection_of(spelled(narrow)) == narrow
    long = replace(narrow, canonical=b"c" * removals.MOST_BYTES)
    assert selection_of(spelled(long)) == replace(narrow, canonical=None, text=None)
    assert selection_of(b"nonsense") == Selection()
    assert NOTHING < b"0"
