"""The index against the store: what differs is counted and put right."""

import numpy as np
import pytest

from backends.chat import Completion
from embeddings.base import Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.hashing import HashingEmbedder
from embeddings.index import VectorIndex
from gateway.answers.base import Entry
from gateway.answers.memory import MemoryAnswers
from gateway.semantic.agreement import Agreement
from gateway.semantic.vectors import Vectors

EMBEDDER = HashingEmbedder(16)
SCOPE, COMPAT = b"s" * 32, b"c" * 32


def vector(number: int) -> Vector:
    found: Vector = EMBEDDER.embed([f"question {number}"])[0]
    return found


def entry(number: int) -> Entry:
    raw = vector(number).astype("<f4").tobytes()
    exact, question = b"%032d" % number, f"question {number}"
    return Entry(
        str(number), SCOPE, exact, COMPAT, b"", question, "m", Completion(()), 1.0, None, 0.1,
        embedder=EMBEDDER.fingerprint, vector=raw,
    )  # fmt: skip


@pytest.fixture
async def answers() -> MemoryAnswers:
    answers = MemoryAnswers(10_000_000)
    for number in range(30):
        await answers.put(entry(number))
    return answers


async def index_of(answers: MemoryAnswers) -> VectorIndex:
    index = VectorIndex(16)
    async for row in answers.embedded(EMBEDDER.fingerprint):
        index.add(SCOPE + COMPAT, row.id, np.frombuffer(row.vector, "<f4"))
    return index


async def test_what_the_index_lost_is_added_again(answers: MemoryAnswers) -> None:
    index = await index_of(answers)
    agreement = Agreement(answers, index, EMBEDDER.fingerprint)
    index.remove(SCOPE + COMPAT, "3")
    index.remove(SCOPE + COMPAT, "5")

    assert await agreement.look() == (2, 0)
    assert (len(index), agreement.live_rows) == (30, 30)
    assert index.search(SCOPE + COMPAT, vector(3), 1)[0].id == "3"


async def test_what_the_store_lost_is_dropped(answers: MemoryAnswers) -> None:
    index = await index_of(answers)
    agreement = Agreement(answers, index, EMBEDDER.fingerprint)
    await answers.remove(SCOPE, "7")

    assert await agreement.look() == (0, 0)  # seen to be too many
    assert (len(index), agreement.live_rows) == (30, 29)
    assert await agreement.look() == (0, 1)
    assert (len(index), agreement.live_rows) == (29, 29)


async def test_what_the_budget_let_go_is_not_added_again(answers: MemoryAnswers) -> None:
    index = VectorIndex(16, budget_bytes=2200)
    async for row in answers.embedded(EMBEDDER.fingerprint):
        index.add(SCOPE + COMPAT, row.id, np.frombuffer(row.vector, "<f4"))
    agreement = Agreement(answers, index, EMBEDDER.fingerprint)
    before = len(index)
    assert index.num_let_go == 30 - before > 0

    await agreement.look()
    assert (agreement.live_rows, index.nbytes <= 6000) == (30, True)
    assert len(index) <= before + 1


async def test_the_figures_name_rows_of_both_memory_and_what_was_let_go(answers: MemoryAnswers) -> None:
    vectors = Vectors(answers, EmbeddingBatcher(lambda: EMBEDDER), VectorIndex)
    assert list(vectors.samples()) == []
    await vectors.open()

    told = {sample.name: sample.value for sample in vectors.samples()}
    assert len(vectors) == told["twicetold_index_live_rows"] == 30
    assert told["twicetold_index_let_go"] == 0 < told["twicetold_index_bytes"]
    vectors.drop(SCOPE + COMPAT, "3")
    vectors.drop(SCOPE + COMPAT, "3")
    assert {sample.name: sample.value for sample in vectors.samples()}["twicetold_index_live_rows"] == 29
    await vectors.close()
    assert not vectors.is_ready
