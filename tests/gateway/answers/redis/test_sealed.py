"""A sealed Redis keeps its promises, and shows nobody a word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from gateway.answers.base import Entry, Verdict
from gateway.answers.redis import scripts
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Page, Selection
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, key_of
from gateway.shared.vectors import RedisVectors
from tests.contracts.answers_contract import Clock, digest, embedded, entry_of
from tests.gateway.answers.redis.conftest import PATIENCE_S, SECRET, store_of
from tests.gateway.answers.test_sealed import MARKS, VECTOR, telling
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis

ONE, TWO = KeyRing([key_of("one")]), KeyRing([key_of("two")])
BOTH = KeyRing([*TWO.keys, *ONE.keys])


@asynccontextmanager
async def opened(server: RedisServer, seal: Seal) -> AsyncIterator[RedisAnswers]:
    link = Link(server.url, SECRET, timeout_s=PATIENCE_S, seal=seal)
    store = store_of(link, Clock())
    await store.open()
    try:
        await store.resealing.wait()
        yield store
    finally:
        await store.close()
        await link.close()


async def fill(server: RedisServer, seal: Seal) -> Entry:
    async with opened(server, seal) as store:
        await store.put(telling())
        await store.judge(telling(), Verdict("r", is_good=True, comment="said grumpily", at_s=1.0))
        found = await store.get(digest("s"), digest("t"))
        assert found is not None
        return found


def words_in(server: RedisServer, *without: str) -> set[bytes]:
    """Words in what a dump of every key holds, packed bodies unpacked by who wrote them: they are too short to be."""
    names = [name for name in server.client.scan_iter() if not name.endswith(tuple(end.encode() for end in without))]
    dumps = b"".join(server.client.dump(name) or b"" for name in names)
    return {mark for mark in MARKS if mark in dumps}


def noted(server: RedisServer) -> str:
    """The key that all of it is under."""
    return bytes(server.client.get(Link(server.url, SECRET).name("seal")) or b"").decode().split(" ")[0]  # type: ignore[arg-type]


async def test_no_word_and_no_vector_lies_in_redis(server: RedisServer) -> None:
    assert replace(await fill(server, ONE), good=0) == telling()
    assert words_in(server) == set()

    async with opened(server, ONE) as store:
        for selection in (Selection(tag="zoology"), Selection(namespace="burrows"), Selection(text="A Herbivore")):
            (listed,) = await store.select(selection, Page())
            assert listed.question == "what is a wombat?"
        assert [row.vector for row in await embedded(store, "mini@1")] == [VECTOR]
        assert [said.comment for said in await store.verdicts(digest("s"), "e_t")] == ["said grumpily"]
        await store.remove_all(Selection(text="herbivore"))
        assert await store.size() == 0
    assert words_in(server) == set()


@pytest.mark.parametrize(("before", "after"), [(NO_SEAL, ONE), (ONE, BOTH)])
async def test_what_was_kept_before_comes_under_the_new_key(server: RedisServer, before: Seal, after: Seal) -> None:
    entry = await fill(server, before)
    assert bool(words_in(server)) == (before is NO_SEAL)

    async with opened(server, after) as store:
        assert await store.get(entry.scope, entry.exact) == entry
        assert [said.comment for said in await store.verdicts(digest("s"), "e_t")] == ["said grumpily"]
    assert words_in(server) == set()
    async with opened(server, KeyRing([after.keys[0]])) as store:  # type: ignore[attr-defined]
        assert await store.get(entry.scope, entry.exact) == entry


async def test_what_another_gateway_wrote_otherwise_meanwhile_is_sealed_by_the_next_start(server: RedisServer) -> None:
    async with opened(server, NO_SEAL) as plain, opened(server, BOTH) as first:
        await plain.put(telling())
        await first.put(entry_of("first"))
    assert words_in(server)

    async with opened(server, BOTH) as store:
        assert await store.get(digest("s"), digest("t")) == telling()
    assert words_in(server) == set()
    assert noted(server) == BOTH.name
    async with opened(server, ONE):  # does not open: nothing is noted
        pass
    assert noted(server) == BOTH.name


async def test_what_is_removed_or_replaced_while_it_is_sealed_stays_so(server: RedisServer) -> None:
    """An entry that was read in order to be sealed is written only where it still lies."""
    await fill(server, NO_SEAL)
    link = Link(server.url, SECRET, timeout_s=PATIENCE_S, seal=ONE)
    async with opened(server, NO_SEAL) as store:
        await store.put(entry_of("other"))
        rows = [row async for row in store._catalog.rows()]
        sealing = store_of(link, Clock())
        for row in rows:
            held = await sealing._shelves.run(scripts.GET, row.shelf, row.card.member)
            sealed = sealing._cards.pack(sealing._cards.read(row.card, held[1], held[2]))
            if row.card.id == "e_t":
                await store.remove_all(Selection(id="e_t"))
            else:
                await store.put(replace(entry_of("other"), created_s=row.card.created_s + 1))
            parts = (row.card.member, held[0], sealed.card, sealed.body, sealed.vector)
            assert await sealing._shelves.run(scripts.RESEAL, row.shelf, *parts) == 0
        (left,) = await store.select(Selection(), Page())

    assert left.id == "e_other"
    await link.close()


async def test_a_comment_that_was_written_in_plain_on_a_sealed_entry_is_sealed(server: RedisServer) -> None:
    async with opened(server, ONE) as store:
        await store.put(telling())
        async with opened(server, NO_SEAL) as before:
            await before.judge(telling(), Verdict("r", is_good=True, comment="said grumpily", at_s=1.0))
    assert words_in(server) == {b"grumpily"}

    async with opened(server, ONE) as store:
        assert [said.comment for said in await store.verdicts(digest("s"), "e_t")] == ["said grumpily"]
    assert words_in(server) == set()


async def test_nobodys_memory_hears_that_an_entry_was_sealed(server: RedisServer) -> None:
    await fill(server, NO_SEAL)
    feed = Link(server.url, SECRET).names.feed
    before = server.client.xlen(feed)

    async with opened(server, ONE):
        pass
    assert server.client.xlen(feed) == before


@pytest.mark.parametrize("other", [TWO, NO_SEAL])
async def test_without_its_key_an_entry_is_a_miss_and_is_there_again_with_it(server: RedisServer, other: Seal) -> None:
    entry = await fill(server, ONE)

    async with opened(server, other) as store:
        assert await store.get(entry.scope, entry.exact) is None
        assert await store.owned("", "e_t") is None
        assert await embedded(store, "mini@1") == []
        assert await store.select(Selection(), Page()) == []
    async with opened(server, ONE) as store:
        assert await store.get(entry.scope, entry.exact) == entry


async def test_vectors_are_not_searched_in_redis_and_those_that_were_are_deleted(server: RedisServer) -> None:
    link = Link(server.url, SECRET, timeout_s=PATIENCE_S, seal=ONE)
    server.client.hset(link.name("near", "4d1a", "part"), "v", VECTOR)
    vectors = RedisVectors(link)

    assert not vectors.keep(b"part", "e_t", np.ones(4, np.float32))
    assert "sealed" in vectors.state
    await link.close()
    async with opened(server, ONE):
        assert list(server.client.scan_iter("*:near:*")) == []
