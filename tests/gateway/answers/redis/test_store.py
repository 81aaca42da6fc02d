"""What the shared store promises beyond the contract: marks, budgets, ends, and what it tells the others."""

from collections import Counter
from dataclasses import replace

import pytest

from gateway.answers.base import CacheError, Gone
from gateway.answers.redis.connection import Link
from gateway.answers.redis.keys import SHELVES, Names
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Page, Selection
from tests.contracts.answers_contract import (
    KEEP_STALE_S,
    Clock,
    completion_of,
    digest,
    embedded,
    entry_of,
    full_entry,
    lacking,
    said,
    unembedded,
)
from tests.gateway.answers.redis.conftest import PATIENCE_S, SECRET, store_of
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


def keys(server: RedisServer, pattern: str) -> list[bytes]:
    return [key for key in server.client.keys(pattern) if isinstance(key, bytes)]


def card_of(server: RedisServer, link: Link, name: str) -> tuple[bytes, bytes, bytes]:
    """Where the card of an entry lies, and what it is."""
    names = link.names
    shelf, member = names.shelf(names.shelf_of(digest(name))), names.member(digest("s"), digest(name))
    card = server.client.hget(shelf + b":c", member)
    assert isinstance(card, bytes)
    return shelf, member, card


async def told(link: Link) -> list[tuple[str, str, str]]:
    """Kind, replica and entry of everything on the feed."""
    events = await link.call("XRANGE", link.names.feed, "-", "+")
    fields = [
        dict(event) if isinstance(event, dict) else dict(zip(event[::2], event[1::2], strict=True))
        for _, event in events
    ]
    return [(one[b"k"].decode(), one[b"r"].decode(), one[b"i"].decode()) for one in fields]


async def test_two_gateways_see_each_others_answers_and_another_secret_sees_nothing(
    server: RedisServer, store: RedisAnswers, clock: Clock
) -> None:
    await store.put(full_entry())
    for secret, is_seen in ((SECRET, True), (b"t" * 32, False)):
        link = Link(server.url, secret, timeout_s=PATIENCE_S)
        other = store_of(link, clock, b"b")

        found = await other.get(digest("s"), digest("a"))
        assert found == (full_entry() if is_seen else None)
        assert await other.size() == is_seen
        await link.close()


@pytest.mark.parametrize("what", ["card", "body", "vector", "end", "another's"])
async def test_what_somebody_planted_is_a_miss_counted_and_deleted(
    server: RedisServer, store: RedisAnswers, link: Link, what: str
) -> None:
    await store.put(full_entry())
    await store.put(entry_of("b", text="for somebody else"))
    shelf, member, card = card_of(server, link, "a")
    match what:
        case "card":
            card = card.replace(b"space", b"other")
        case "end":
            card = card[:8] + bytes(6) + b"\xf0\x7f" + card[16:]  # never
        case "another's":
            card = card_of(server, link, "b")[2]
        case _:
            key = shelf + (b":a:" if what == "body" else b":v:") + member
            value = server.client.get(key)
            assert isinstance(value, bytes)
            server.client.set(key, value[:-1] + bytes([value[-1] ^ 1]))
    server.client.hset(shelf + b":c", member, card)

    assert await store.get(digest("s"), digest("a")) is None
    assert store.report()["broken"] == 1
    assert await store.size() == 1
    assert await store.get(digest("s"), digest("b")) == entry_of("b", text="for somebody else")


async def test_a_body_that_redis_let_go_is_a_miss_and_a_vector_is_made_anew(
    server: RedisServer, store: RedisAnswers, link: Link
) -> None:
    entry = replace(entry_of(), embedder="mini@1", vector=b"1234")
    await store.put(entry)
    server.client.delete(*keys(server, "*:v:*"))
    assert await embedded(store, "mini@1") == []
    assert await unembedded(store, "mini@1") == [lacking(entry)]

    server.client.delete(*keys(server, "*:a:*"))
    assert await store.get(digest("s"), digest("a")) is None
    assert store.stats.lost == 1
    assert await store.size() == 0


async def test_the_others_are_told_of_everything(store: RedisAnswers, link: Link) -> None:
    await store.put(entry_of("a"))
    await store.set_vector(lacking(entry_of("a")), "mini@1", b"1234")
    await store.judge(entry_of("a"), said("one"))
    await store.put(entry_of("b"))
    await store.remove(digest("s"), "e_b")
    await store.judge(entry_of("a"), said("two"))

    kinds = [("put", "e_a"), ("vec", "e_a"), ("chg", "e_a"), ("put", "e_b"), ("gone", "e_b"), ("gone", "e_a")]
    found = [one for one in await told(link) if one[0] != "all"]
    assert found == [(kind, "a", name) for kind, name in kinds]


async def test_redis_ends_what_has_ended(server: RedisServer, store: RedisAnswers, clock: Clock) -> None:
    entry = replace(entry_of(), embedder="mini@1", vector=b"1234", expires_s=clock() + 10)
    await store.put(entry)
    for key in (*keys(server, "*:a:*"), *keys(server, "*:v:*")):
        assert 10 + KEEP_STALE_S < server.client.ttl(key) < 10 + KEEP_STALE_S + 3600

    clock.now_s += 11 + KEEP_STALE_S
    await store.put(entry_of(text="new"))  # on the same shelf: what has ended is cleared
    assert await store.size() == 1


async def test_the_cheapest_go_when_the_budget_is_full(link: Link, clock: Clock) -> None:
    store = store_of(link, clock, budget_bytes=SHELVES * 8000)
    dear = [replace(entry_of(f"dear {number}", text="x" * 500), elapsed_s=100.0) for number in range(5)]
    for entry in dear:
        await store.put(entry)
    for number in range(95):
        await store.put(entry_of(f"{number}", text="x" * 500))

    figures = await store.figures()
    assert figures.size_bytes <= SHELVES * 8000
    assert figures.entries + figures.evicted == 100
    assert figures.evicted > 20
    assert None not in await store.many([(entry.scope, entry.exact) for entry in dear])
    assert len(store.take_gone()) == figures.evicted
    kinds = Counter(kind for kind, _, _ in await told(link))
    assert kinds == {"put": 100, "out": figures.evicted}
    with pytest.raises(CacheError, match="bytes, a shelf of the whole budget"):
        await store.put(entry_of(text="x" * 8000))
    await store.close()


async def test_a_tenant_has_a_budget_of_its_own(link: Link, clock: Clock) -> None:
    store = RedisAnswers(
        link, replica=b"a", budget_bytes=100_000_000, tenant_bytes=SHELVES * 5000, keep_stale_s=KEEP_STALE_S, now=clock
    )
    await store.put(replace(entry_of("quiet"), tenant="quiet"))
    for number in range(120):
        await store.put(replace(entry_of(f"{number}"), tenant="loud"))

    assert await store.count(Selection(tenant="loud")) == 120 - store.stats.evicted
    assert 0 < store.stats.evicted < 120
    assert await store.count(Selection(tenant="quiet")) == 1
    await store.close()


async def test_what_was_used_stays(link: Link, clock: Clock) -> None:
    store = store_of(link, clock, budget_bytes=SHELVES * 6000)
    await store.put(entry_of("used"))
    for _ in range(5):
        await store.count_hit("e_used")
    await store.close()  # writes what was counted
    for number in range(150):
        await store.put(entry_of(f"{number}"))

    assert store.stats.evicted > 50
    assert await store.get(digest("s"), digest("used")) is not None


async def test_uses_of_an_alias_and_of_what_is_gone_are_no_trouble(store: RedisAnswers, link: Link) -> None:
    alias = replace(entry_of("b"), alias_of="e_a")
    for entry in (entry_of("a"), alias):
        await store.put(entry)
    for name in ("e_a", "e_b", "e_b", "e_gone"):
        await store.count_hit(name)
    await store.close()

    rows = await store.select(Selection(), Page(100))
    assert {row.id: row.hits for row in rows} == {"e_a": 1, "e_b": 2}


async def test_many_are_fetched_in_one_round_trip(store: RedisAnswers, link: Link) -> None:
    for name in "abc":
        await store.put(entry_of(name))
    before = link.round_trips
    found = await store.many([(digest("s"), digest(name)) for name in "abxc"])
    assert [None if entry is None else entry.id for entry in found] == ["e_a", "e_b", None, "e_c"]
    assert link.round_trips == before + 1

    aliases = [replace(entry_of(f"alias {n}"), alias_of="e_a") for n in range(4)]
    for alias in aliases:
        await store.put(alias)
    assert await store.many([(alias.scope, alias.exact) for alias in aliases]) == aliases


async def test_a_late_put_does_not_take_the_place_of_a_later_answer(store: RedisAnswers) -> None:
    await store.put(entry_of(text="later", created_s=2_000.0))
    await store.put_late(entry_of(text="earlier", created_s=1_000.0))

    found = await store.get(digest("s"), digest("a"))
    assert found is not None
    assert found.completion == completion_of("later")


async def test_a_removed_entry_takes_its_aliases_from_other_shelves(store: RedisAnswers, link: Link) -> None:
    entry = entry_of("a")
    aliases = [replace(entry_of(f"alias {n}"), alias_of="e_a") for n in range(20)]
    for one in (entry, *aliases):
        await store.put(one)
    assert await store.size() == 21

    gone = await store.remove_all(Selection(id="e_a"))
    assert set(gone) == {Gone(one.id, one.scope, one.compat) for one in (entry, *aliases)}
    assert await store.get(entry.scope, aliases[3].exact) is None


def test_an_entry_lies_where_its_name_says() -> None:
    names = Names(SECRET)
    shelves = Counter(names.shelf_of(digest(f"{number}")) for number in range(1600))

    assert len(shelves) == SHELVES
    assert max(shelves.values()) < 160
    assert all(names.shelf_of(digest("a")) == names.shelf_of_id(names.id_of(digest("a"))) for _ in range(3))
