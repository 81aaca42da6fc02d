"""Vectors that memory has no room for, in a real Redis 8 where one is installed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from embeddings.base import Vectors
from embeddings.index import Candidate, VectorIndex
from gateway.answers.redis.connection import Link
from gateway.answers.selection import Selection
from gateway.curation.invalidate import Invalidation
from gateway.shared.vectors import QueryEngine, RedisVectors
from tests.gateway.house import SECRET, house
from tests.gateway.shared.redis8 import Redis8, needs_redis8
from tests.kvtier.tiers.servers import needs_redis

DIM = 64
QUESTIONS = (
    "How deep is Lake Baikal in winter?",
    "Who painted the ceiling of the chapel?",
    "Which metals rust when they get wet?",
    "Why do cats purr at night so loudly?",
    "When was the printing press invented?",
    "Where can I learn to fold paper kites?",
)


@pytest.fixture(scope="module")
def server8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis8]:
    server = Redis8(tmp_path_factory.mktemp("redis8"))
    server.start()
    yield server
    server.client.close()
    server.kill()


@pytest.fixture
async def link8(server8: Redis8) -> AsyncIterator[Link]:
    server8.client.flushall()
    link = Link(server8.url, SECRET)
    yield link
    await link.close()


def rows(count: int) -> Vectors:
    found: Vectors = np.random.default_rng(7).normal(size=(count, DIM)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


async def written(vectors: RedisVectors) -> None:
    """Until nothing waits to be written."""
    async with asyncio.timeout(5):
        while vectors.num_waiting:  # noqa: ASYNC110 (writing has no event)
            await asyncio.sleep(0.005)


@needs_redis8
async def test_what_an_index_lets_go_is_found_in_the_vector_set_of_its_partition(link8: Link) -> None:
    beyond = RedisVectors(link8)
    beyond.open("embedder", DIM)
    index = VectorIndex(DIM, budget_bytes=8_000)
    index.pass_on = beyond.keep
    vectors = rows(120)
    for number, vector in enumerate(vectors):
        index.add(b"even" if number % 2 == 0 else b"odd", str(number), vector)
    while not index.settle():
        pass
    await written(beyond)

    assert 0 < len(index) < 100
    for number, vector in enumerate(vectors):
        partition, other = (b"even", b"odd") if number % 2 == 0 else (b"odd", b"even")
        here = index.search(partition, vector, 1)
        there = await beyond.search(partition, vector, 1)
        best = max((*here, *there), key=lambda one: one.similarity)
        assert (best.id, round(best.similarity, 1)) == (str(number), 1.0)
        assert str(number) not in {one.id for one in await beyond.search(other, vector, 60)}
    await beyond.close()


@needs_redis8
async def test_a_question_that_memory_had_no_room_for_is_a_hit_until_it_is_removed(link8: Link, tmp_path: Path) -> None:
    beyond = RedisVectors(link8)
    async with house(tmp_path, index_bytes=1_500, beyond=beyond) as gateway:
        for question in QUESTIONS:
            await gateway.chat(question)
        await gateway.pipeline.close()
        await written(beyond)
        assert gateway.semantic.num_vectors < len(QUESTIONS)

        invalidation = Invalidation(gateway.answers, gateway.semantic, gateway.ledger)
        for question in QUESTIONS:
            reply = await gateway.ask(question.replace("?", ", please?"))
            assert reply.outcome.tier == "semantic"
            await reply.deltas.aclose()
            await invalidation.run(Selection(id=reply.outcome.entry))
            assert (await gateway.ask(question.replace("?", ", please?"))).outcome.tier == "full"


@needs_redis
async def test_a_server_without_vector_search_is_told_nothing(link: Link, tmp_path: Path) -> None:
    beyond = RedisVectors(link)
    async with house(tmp_path, index_bytes=1_500, beyond=beyond) as gateway:
        for question in QUESTIONS:
            await gateway.chat(question)
        await gateway.pipeline.close()
        await written(beyond)

        assert beyond.state == "let go, this Redis has no vector search"
        assert {(await gateway.ask(question)).outcome.tier for question in QUESTIONS} == {"exact"}


def test_a_query_engine_is_asked_inside_one_partition() -> None:
    """Never run against a server: none was to be had. The words are those of its documentation."""
    engine = QueryEngine(b"ns:near:abcd", DIM)
    (create,) = engine.setup()
    search = engine.search(b"ns:near:abcd:0f", b"raw", 8)
    reply = {b"total_results": 1, b"results": [{b"id": b"x", b"extra_attributes": {b"i": b"e_1", b"d": b"0.25"}}]}

    assert create[:6] == ["FT.CREATE", b"ns:near:abcd", "ON", "HASH", "PREFIX", 1]
    assert search[:3] == ["FT.SEARCH", b"ns:near:abcd", "(@p:{0f})=>[KNN 8 @v $q AS d]"]
    assert engine.found(reply) == [Candidate("e_1", 0.75)]
