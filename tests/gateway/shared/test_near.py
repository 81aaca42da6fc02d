"""What one replica does reaches everything that another one holds near."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.fake import say as scripted
from embeddings.batcher import EmbeddingBatcher
from embeddings.hashing import HashingEmbedder
from embeddings.index import VectorIndex
from gateway.answers import removals
from gateway.answers.base import CacheError, Embedded, Entry, Verdict
from gateway.answers.memory import MemoryAnswers
from gateway.answers.selection import Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.semantic.found import digest_of
from gateway.semantic.orphans import Orphans
from gateway.semantic.rule import LaneKey
from gateway.semantic.vectors import Vectors
from gateway.shared.feed import Event, Kind
from tests.contracts.answers_contract import Clock, digest, entry_of
from tests.gateway.semantic.test_looser import FIRST, OTHER, say, tier
from tests.gateway.shared.replicas import Replica, two
from tests.kvtier.tiers.servers import RedisServer, clustered, needs_redis

QUESTION = "What is the capital city of France?"
REWORDED, POLITE = "What's the capital city of France", "Please, what is the capital city of France?"
TENANT = "t"


@pytest.fixture
async def pair(server: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    server.client.flushall()
    async with two(tmp_path, server.url) as replicas:
        yield replicas


@needs_redis
async def test_a_question_is_found_by_its_words_by_its_bare_form_and_after_another_history(
    pair: tuple[Replica, Replica],
) -> None:
    a, b = pair
    await a.ask(QUESTION)
    await say(a.house, FIRST)
    await b.current()

    assert b.house.semantic.num_vectors == a.house.semantic.num_vectors == 2
    assert [await b.ask(text) for text in (QUESTION, REWORDED, POLITE)] == ["exact", "semantic", "semantic"]
    assert tier(await say(b.house, OTHER)) == ("semantic", "other_history")
    assert b.house.backend.calls == 0


@needs_redis
async def test_what_is_removed_or_answered_anew_leaves_the_memory_of_the_other(pair: tuple[Replica, Replica]) -> None:
    a, b = pair
    await a.ask(QUESTION)
    await b.current()
    assert await b.ask(QUESTION) == "exact"
    (row,) = await a.house.answers.select(Selection(), Page())
    old = await a.house.answers.owned(TENANT, row.id)
    assert old is not None
    assert b.house.answers.get_now(old.scope, old.exact) is not None

    anew = replace(old, created_s=old.created_s + 0.001)
    await a.house.answers.put(anew)
    await b.current()
    assert b.house.answers.get_now(old.scope, old.exact) is None
    assert await b.house.answers.get(old.scope, old.exact) == anew
    await a.house.answers.judge(anew, Verdict("r1", False, "", 1.0))
    await b.current()
    found = await b.house.answers.get(old.scope, old.exact)
    assert found is not None
    assert found.bad == 1
    await a.house.answers.remove_all(Selection(id=old.id))
    await b.current()
    assert b.house.answers.get_now(old.scope, old.exact) is None
    assert b.house.semantic.num_vectors == 0
    assert await b.ask(REWORDED) == "full"


@needs_redis
async def test_what_only_another_replica_has_or_is_making_is_removed_with_everything(
    pair: tuple[Replica, Replica],
) -> None:
    a, b = pair
    made = replace(entry_of("a"), began=b.house.answers.begin())
    b.house.answers.put_now(waits := entry_of("b"))  # as one that was cut off has it
    await a.house.answers.remove_all(Selection(model="m"))
    await b.current()

    b.house.answers.put_now(made)
    for entry in (made, waits):
        assert b.house.answers.get_now(entry.scope, entry.exact) is None
        assert not await b.house.answers.settle(entry)
    later = replace(entry_of("a"), began=b.house.answers.begin())
    await b.house.answers.put(later)
    assert await a.house.answers.get(later.scope, later.exact) == later


@needs_redis
async def test_what_others_let_go_or_removed_one_by_one_does_not_stop_what_is_being_made(
    pair: tuple[Replica, Replica],
) -> None:
    a, b = pair
    feed, answers = a.link.names.feed, b.house.answers
    await answers.put(kept := entry_of("b"))
    made = replace(entry_of("a"), began=answers.begin())
    kinds: tuple[Kind, ...] = ("out", "gone")
    events = [Event("out", b"x", kept.scope, kept.compat, digest(name), f"e_{name}") for name in "ab"]
    events += [
        Event(kinds[n % 2], b"x", kept.scope, kept.compat, digest(f"z{n}"), f"e_z{n}") for n in range(removals.MOST)
    ]
    said = [[part for item in event.fields().items() for part in item] for event in events]
    await a.link.together([("XADD", feed, "*", *fields) for fields in said])
    await b.current()

    assert answers.get_now(kept.scope, kept.exact) is None
    assert made.began is not None
    assert not answers.is_overtaken(made.began, made.id)
    await answers.put(made)
    assert answers.get_now(made.scope, made.exact) == made
    assert await a.house.answers.get(made.scope, made.exact) == made


@needs_redis
async def test_replicas_on_a_cluster_follow_each_other(tmp_path: Path) -> None:
    for nodes in clustered(tmp_path):
        async with two(tmp_path, f"{nodes[0].url}?cluster=1") as (a, b):
            assert a.link.is_cluster
            await a.ask(QUESTION)
            await b.current()
            assert [await b.ask(text) for text in (REWORDED, QUESTION)] == ["semantic", "exact"]
            await a.house.answers.remove_all(Selection())
            await b.current()
            assert [await b.ask(text) for text in (REWORDED, QUESTION)] == ["full", "semantic"]


@needs_redis
async def test_an_answer_to_anything_is_known_to_be_one_by_all(pair: tuple[Replica, Replica]) -> None:
    a, b = pair
    texts = ("Who wrote Faust?", "How deep is Lake Baikal?", "Bake rye bread with sourdough", "kubectl drain fails")
    a.house.backend.script = lambda _: scripted("Sorry, I can't help with that.")
    for text in texts:
        await a.ask(text)
    await b.current()

    (row, *_) = await b.house.answers.select(Selection(), Page())
    refusal = await b.house.answers.owned(TENANT, row.id)
    assert refusal is not None
    assert b.house.semantic._commonplaces.has(LaneKey(TENANT, "default"), digest_of(refusal))


@needs_redis
async def test_a_store_that_forgot_everything_is_followed_by_all(
    pair: tuple[Replica, Replica], server: RedisServer
) -> None:
    a, b = pair
    for text in (QUESTION, "Who wrote Faust?"):
        await a.ask(text)
    await b.current()
    assert await b.ask(QUESTION) == "exact"
    server.client.flushall()
    await b.current()
    await a.current()

    assert (a.house.semantic.num_vectors, b.house.semantic.num_vectors) == (0, 0)
    assert [await b.ask(text) for text in (REWORDED, QUESTION)] == ["full", "semantic"]
    await a.current()
    assert await a.ask(POLITE) == "semantic"


async def test_an_answer_whose_gateway_ended_before_it_had_a_vector_gets_one_from_another() -> None:
    embedder, store, clock = HashingEmbedder(16), MemoryAnswers(1_000_000), Clock()
    vectors = Vectors(store, EmbeddingBatcher(lambda: embedder), VectorIndex, orphans=Orphans(30.0, clock))
    await vectors.open()
    await vectors.catch_up()
    for name in ("a", "b"):
        await store.put(entry_of(name))
        vectors.expect(digest("s"), f"e_{name}")
    vectors.settle(digest("s"), "e_b")  # it cannot be read whole, or is gone
    await vectors.catch_up()
    assert len(vectors) == 0  # whoever stored it is likely at it
    clock.now_s += 31
    await vectors.catch_up()

    assert len(vectors) == 2
    await vectors.close()


async def test_a_read_that_began_before_another_process_wrote_does_not_stay_in_memory() -> None:
    answers = TieredAnswers(MemoryAnswers(1_000_000), store := Slow())
    await store.put(entry_of())
    reading = asyncio.create_task(answers.get(digest("s"), digest("a")))
    await asyncio.sleep(0)
    answers.forget_near(digest("s"), digest("a"), "e_a", is_gone=True)
    store.may_return.set()

    assert await reading is not None
    assert answers.get_now(digest("s"), digest("a")) is None


async def test_what_another_process_removed_is_not_written_although_it_waited() -> None:
    answers = TieredAnswers(MemoryAnswers(1_000_000), store := MemoryAnswers(1_000_000))
    for is_gone in (False, True):
        answers.put_now(entry := entry_of())
        answers.forget_near(entry.scope, entry.exact, entry.id, is_gone=is_gone)
        assert answers.get_now(entry.scope, entry.exact) is None
        assert await answers.settle(entry) is not is_gone
    assert len(store) == 1


async def test_a_vector_that_comes_while_the_index_is_made_is_found_in_it() -> None:
    embedder = HashingEmbedder(16)
    vectors = Vectors(MemoryAnswers(1_000_000), EmbeddingBatcher(lambda: embedder), VectorIndex)
    vector = embedder.embed(["question"])[0]
    row = Embedded("e_a", digest("s"), digest("c"), "question", vector.astype("<f4").tobytes(), None)
    vectors.hear(row, embedder.fingerprint)
    vectors.hear(row, "of another embedder")
    await vectors.open()

    assert [one.id for one in vectors.search(digest("s") + digest("c"), vector, 1)] == ["e_a"]
    assert len(vectors) == 1
    await vectors.close()


async def test_an_index_whose_store_was_away_at_the_start_is_made_when_it_is_back() -> None:
    embedder = HashingEmbedder(16)
    store = Away()
    vector = embedder.embed(["what is a?"])[0]
    await store.put(replace(entry_of(), embedder=embedder.fingerprint, vector=vector.astype("<f4").tobytes()))
    vectors = Vectors(store, EmbeddingBatcher(lambda: embedder), VectorIndex)
    await vectors.open()
    assert (vectors.is_ready, len(vectors)) == (True, 0)
    with pytest.raises(CacheError):
        await vectors.catch_up()
    store.is_away = False
    await vectors.catch_up()

    assert len(vectors) == 1
    await vectors.close()


class Away(MemoryAnswers):
    """A store that cannot be read, until it can."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.is_away = True

    async def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        if self.is_away:
            raise CacheError("away")
        async for row in super().embedded(embedder):
            yield row


class Slow(MemoryAnswers):
    """A store whose reads wait, holding what they found."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.may_return = asyncio.Event()

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        found = self.get_now(scope, exact)
        await self.may_return.wait()
        return found
