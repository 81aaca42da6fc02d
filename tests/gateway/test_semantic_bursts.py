"""Every stored question is learned in the end: after a burst, a restart, a failure, or with another embedder."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from backends.fake import ScriptedBackend, say
from embeddings.base import Reading, Vectors
from embeddings.hashing import HashingEmbedder
from gateway.chores import Chores
from gateway.controls import Controls
from tests.gateway.house import House, house

ASKED = "What is the capital city of France?"
REWORDED = ("What's the capital city of France?", "What is the capital city of france")
NO_CACHE = Controls(no_cache=True)


class Slow(HashingEmbedder):
    """Waits for a gate, then takes its time; it may choke, and cannot see the whole of a long text."""

    def __init__(self, dim: int = 256, per_text_s: float = 0.0) -> None:
        super().__init__(dim)
        self.gate = threading.Event()
        self.gate.set()
        self.seen: list[str] = []
        self.poison = "nothing yet"
        self._per_text_s = per_text_s

    def embed(self, texts: Sequence[str]) -> Vectors:
        self._see(texts)
        return super().embed(texts)

    def read(self, texts: Sequence[str]) -> list[Reading]:
        self._see(texts)
        return super().read(texts)

    def _see(self, texts: Sequence[str]) -> None:
        assert self.gate.wait(30)
        time.sleep(self._per_text_s * len(texts))
        self.seen += texts
        if any(self.poison in text for text in texts):
            raise RuntimeError("the model choked")

    def fits(self, text: str) -> bool:
        return len(text) < 500


def question(number: int) -> str:
    return f"Where on shelf {number} is the book with the {number * 7919} pages?"


def count(folder: Path, condition: str) -> int:
    with closing(sqlite3.connect(folder / "answers.db")) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM entries WHERE {condition}").fetchone()  # noqa: S608
    return int(found)


def forget_vectors(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "answers.db")) as connection, connection:
        connection.execute("UPDATE entries SET embedder = NULL, vector = NULL")


async def insert(gateway: House, numbers: range) -> None:
    await asyncio.gather(*(gateway.chat(question(number), controls=NO_CACHE) for number in numbers))


async def learned(gateway: House, num_vectors: int) -> None:
    """Wait until so many questions are found by meaning: a stop would wait for 5 s only."""
    async with asyncio.timeout(60):
        while gateway.semantic.num_vectors < num_vectors:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_burst_of_inserts_loses_no_vector_and_a_lookup_goes_first(tmp_path: Path) -> None:
    embedder = Slow(per_text_s=0.001)
    async with house(tmp_path, embedder=embedder) as gateway:
        await gateway.chat(ASKED)
        await gateway.pipeline.close()
        embedder.gate.clear()
        await insert(gateway, range(1000))
        reads = [asyncio.create_task(gateway.chat(text)) for text in REWORDED]
        embedder.gate.set()
        tiers = [(await read)[0].tier for read in reads]
        await learned(gateway, 1001)

        assert tiers == ["semantic"] * len(REWORDED)
        assert max(embedder.seen.index(text) for text in REWORDED) < 900
        assert gateway.semantic.num_vectors == 1001
        assert gateway.ledger.totals.cache_failures == 0
    assert count(tmp_path, "length(vector) > 0") == 1001


async def test_five_thousand_answers_at_once_are_all_stored(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("yes"))) as gateway:
        await insert(gateway, range(5000))
        await learned(gateway, 5000)

        assert gateway.ledger.totals.cache_failures == 0
        assert await gateway.answers.size() == 5000


async def test_an_answer_is_in_the_store_before_its_question_is_embedded(tmp_path: Path) -> None:
    embedder = Slow()
    async with house(tmp_path, embedder=embedder) as gateway:
        embedder.gate.clear()
        await insert(gateway, range(20))
        while await gateway.answers.size() < 20:
            pass
        assert count(tmp_path, "vector IS NULL") == 20
        embedder.gate.set()


@pytest.mark.parametrize("next_dim", [256, 128])  # 128: another fingerprint
async def test_a_restart_learns_what_lacks_a_vector_of_its_embedder(tmp_path: Path, next_dim: int) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(ASKED)
        await insert(gateway, range(100))
    if next_dim == 256:
        forget_vectors(tmp_path)  # what a crash between the two writes leaves

    for _ in range(2):  # the second time there is nothing left to learn
        embedder = Slow(next_dim)
        async with house(tmp_path, embedder=embedder) as gateway:
            await gateway.semantic.catch_up()
            assert gateway.semantic.num_vectors == 101
            assert (await gateway.chat(REWORDED[0]))[0].tier == "semantic"
    assert sorted(embedder.seen) == sorted([REWORDED[0], ASKED])  # what is near is read, too


async def test_a_question_the_embedder_cannot_see_is_tried_once_for_each_embedder(tmp_path: Path) -> None:
    async with house(tmp_path, embedder=Slow()) as gateway:
        await gateway.chat("long " * 200)
    assert count(tmp_path, "length(vector) = 0") == 1

    async with house(tmp_path, embedder=Slow()) as gateway:
        fingerprint = Slow().fingerprint
        assert [row async for row in gateway.answers.unembedded(fingerprint)] == []
        assert gateway.semantic.num_vectors == 0
        assert len([row async for row in gateway.answers.unembedded("another")]) == 1


async def test_a_failed_text_is_counted_and_tried_again_once(tmp_path: Path) -> None:
    embedder = Slow()
    async with house(tmp_path, embedder=embedder) as gateway:
        await gateway.semantic.catch_up()
        embedder.poison = "shelf"
        await insert(gateway, range(3))
        await gateway.pipeline.close()
        assert gateway.count("twicetold_cache_failures_total", step="embed") == 3

        await gateway.semantic.catch_up()
        tried = len(embedder.seen)
        await gateway.semantic.catch_up()
        assert len(embedder.seen) == tried

        embedder.poison = "nothing any more"
        await insert(gateway, range(3, 4))
        await gateway.pipeline.close()
        assert gateway.semantic.num_vectors == 1
    async with house(tmp_path) as gateway:
        await gateway.semantic.catch_up()
        assert gateway.semantic.num_vectors == 4


async def test_learning_stops_at_once_when_told_to(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await insert(gateway, range(200))
    forget_vectors(tmp_path)

    embedder = Slow()
    async with house(tmp_path, embedder=embedder) as gateway:
        embedder.gate.clear()
        learning = asyncio.create_task(gateway.semantic.catch_up())
        await asyncio.sleep(0.01)
        learning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await learning
        embedder.gate.set()
    assert len(embedder.seen) <= 8  # the batch that was under way


async def test_chores_over_the_limit_are_refused_and_counted() -> None:
    chores, gate = Chores(limit=1), asyncio.Event()

    async def work() -> None:
        await gate.wait()

    assert chores.add(work())
    assert not chores.add(work())
    assert chores.dropped == 1
    gate.set()
    await chores.finish()
