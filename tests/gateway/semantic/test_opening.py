"""The semantic tier while it is being loaded, and without what cannot be loaded."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backends.chat import Completion
from embeddings.base import Embedder
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Label
from embeddings.control.risk import clopper_pearson
from embeddings.hashing import HashingEmbedder
from embeddings.index import VectorIndex
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import conservative, load_verifier
from embeddings.verifier.cross_encoder import SecondLook
from gateway.answers.base import CacheError, Entry
from gateway.answers.memory import MemoryAnswers
from gateway.policy import Rules
from gateway.semantic.figures import figures, samples
from gateway.semantic.held import Held
from gateway.semantic.labels import Given, LabelStore
from gateway.semantic.rule import LaneRule
from gateway.semantic.tier import Choices, Semantic
from gateway.semantic.vectors import Vectors
from gateway.semantic.verifiers import Verifiers

RULE = LaneRule.of("t", Rules())
SCOPE = b"s" * 32


def tier(folder: Path, load: Callable[[], Embedder], look: SecondLook | None = None) -> Semantic:
    labels = LabelStore(folder / "labels.db", per_tenant=100)
    batcher = EmbeddingBatcher(load)
    verifiers = Verifiers(second_look=look)
    return Semantic(MemoryAnswers(1 << 20), batcher, VectorIndex, labels, b"s" * 32, Choices(), verifiers)


def ready(semantic: Semantic) -> list[float]:
    return [one.value for one in samples(semantic) if one.name == "twicetold_semantic_ready"]


async def asked(semantic: Semantic) -> Held:
    """A lane, as soon as the labels are open."""
    while True:
        try:
            return await semantic.lanes.report(RULE)
        except CacheError:
            await asyncio.sleep(0.01)


async def test_a_lane_that_is_asked_for_before_the_embedder_is_there_gets_its_verifier_then(
    tmp_path: Path, minilm: SentenceTransformerEmbedder
) -> None:
    may_load = threading.Event()

    def load() -> Embedder:
        may_load.wait(10)
        return minilm

    semantic = tier(tmp_path, load)
    opening = asyncio.create_task(semantic.open())
    early = (await asked(semantic)).verifier.name
    assert (semantic.opening, ready(semantic)) == ("the embedder is being loaded; 0 bare forms read", [0])
    may_load.set()
    await opening
    assert ready(semantic) == [1]
    late = (await asked(semantic)).verifier.name
    await semantic.close()

    assert (early, late) == (conservative().name, load_verifier(minilm.fingerprint).name)
    assert early != late


async def test_a_large_partition_is_not_searched_before_it_has_lists_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers, embedder = MemoryAnswers(1 << 24), HashingEmbedder(16)
    for number in range(300):
        question, exact = f"question {number}", b"%032d" % number
        (vector,) = embedder.embed([question])
        entry = Entry(f"e{number}", SCOPE, exact, SCOPE, b"", question, "m", Completion(()), 1.0, None, 0.1)
        await answers.put(replace(entry, embedder=embedder.fingerprint, vector=vector.tobytes()))
    index = VectorIndex(16, flat_rows=100, slow_rows=200)
    index._turn.acquire()  # somebody else's lists are being made

    batcher = EmbeddingBatcher(lambda: embedder)
    vectors = Vectors(answers, batcher, lambda _: index)
    await vectors.open()
    assert (vectors.is_slow(SCOPE + SCOPE), vectors.is_slow(b"another"), vectors.num_slow) == (True, False, 1)
    assert "1 large partitions have no lists yet" in caplog.text
    assert [one.value for one in vectors.samples() if one.name == "twicetold_index_slow_partitions"] == [1]

    index._turn.release()
    async with asyncio.timeout(20):
        while vectors.is_slow(SCOPE + SCOPE):  # noqa: ASYNC110 - a thread of no loop makes them
            await asyncio.sleep(0.01)
    await vectors.catch_up()
    assert vectors.num_slow == 0
    assert len(vectors.search(SCOPE + SCOPE, vector, 3)) == 3
    await vectors.close()
    await batcher.close()


async def test_a_second_look_that_cannot_be_loaded_is_done_without_and_counted(tmp_path: Path) -> None:
    semantic = tier(tmp_path, HashingEmbedder, SecondLook(str(tmp_path / "nothing")))
    await semantic.open()

    assert semantic.is_ready
    assert figures(semantic)["second_looks_failed"] == 1
    assert [one.value for one in samples(semantic) if one.name == "twicetold_second_looks_failed"] == [1]
    await semantic.close()


async def test_the_rate_of_wrong_hits_is_of_the_known_hits_of_all_lanes_together(tmp_path: Path) -> None:
    semantic = tier(tmp_path, HashingEmbedder)
    await semantic.open()
    await asked(semantic)
    before = figures(semantic)["wrong_hit_rate"]
    for tenant, is_right in (("t", True), ("t", True), ("u", True), ("v", False)):
        label = Label("a", "b", "e", is_right, "shadow", 0.99, (), True, was_hit=True)
        rule = LaneRule.of(tenant, Rules())
        await semantic.lanes.learn(rule, [Given(rule.key, b"s" * 32, label)])
    await semantic.lanes.report(LaneRule.of("made up", Rules()))
    after = figures(semantic)["wrong_hit_rate"]
    await semantic.close()

    assert before == {"estimate": None, "upper": 1.0}
    assert after == {"estimate": 0.25, "upper": clopper_pearson(1, 4, 0.95)[1]}
