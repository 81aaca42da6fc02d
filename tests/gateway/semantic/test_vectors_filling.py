"""The index while it is filled, and with a store that fails in the middle of that."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.chat import ChatRequest, Completion
from embeddings.base import Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.hashing import HashingEmbedder
from embeddings.index import VectorIndex
from gateway.answers.base import CacheError, Embedded, Entry, Unembedded
from gateway.answers.memory import MemoryAnswers
from gateway.identity.canonical import Fingerprints, fingerprints
from gateway.policy import Rules
from gateway.semantic.found import Match
from gateway.semantic.labels import LabelStore
from gateway.semantic.rule import LaneRule
from gateway.semantic.tier import Choices, Semantic
from gateway.semantic.vectors import Vectors
from gateway.semantic.verifiers import Verifiers
from tests.gateway.house import PlainLane

EMBEDDER = HashingEmbedder(16)
SCOPE, LARGE, LATE, NONE = b"s" * 32, b"l" * 32, b"t" * 32, b"n" * 32
NUM = 300


class Store(MemoryAnswers):
    """Answers whose rows come until `stops_at`; then it fails, or waits where there is a gate."""

    def __init__(self) -> None:
        super().__init__(1 << 24)
        self.stops_at: int | None = None
        self.gate: asyncio.Event | None = None
        self.stopped = asyncio.Event()

    async def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        count = 0
        async for row in super().embedded(embedder):
            if count == self.stops_at:
                await self._stop()
            yield row
            count += 1

    async def _stop(self) -> None:
        self.stopped.set()
        if self.gate is None:
            raise CacheError("the disk gave no answer")
        await self.gate.wait()


def vector(number: int) -> Vector:
    found: Vector = EMBEDDER.embed([f"question {number}"])[0]
    return found


def entry(number: int, compat: bytes = LARGE) -> Entry:
    question, exact = f"question {number}", b"%032d" % number
    raw = vector(number).astype("<f4").tobytes()
    bare = Entry(str(number), SCOPE, exact, compat, b"", question, "m", Completion(()), 1.0 + number, None, 0.1)
    return replace(bare, embedder=EMBEDDER.fingerprint, vector=raw)


@pytest.fixture
async def store() -> Store:
    """Many questions of one partition, then two of another."""
    store = Store()
    for number in range(NUM):
        await store.put(entry(number))
    await store.put(entry(NUM, LATE))
    await store.put(entry(NUM + 1, LATE))
    return store


def vectors_of(store: Store, index: VectorIndex) -> Vectors:
    return Vectors(store, EmbeddingBatcher(lambda: EMBEDDER), lambda _: index)


async def test_an_index_that_could_not_be_filled_is_filled_later_and_gets_its_lists(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    index = VectorIndex(16, flat_rows=100)
    vectors, store.stops_at = vectors_of(store, index), 200
    await vectors.open()
    assert (vectors.is_ready, len(vectors), vectors.lacking) == (True, 200, "the disk gave no answer")
    assert "not whole, 200 vectors are there" in caplog.text
    store.stops_at = 250
    with pytest.raises(CacheError):
        await vectors.catch_up()
    assert (len(vectors), vectors.lacking) == (250, "the disk gave no answer")

    store.stops_at = None
    await vectors.catch_up()
    assert (len(vectors), vectors.lacking) == (NUM + 2, "")
    assert {one.name: one.value for one in vectors.samples()}["twicetold_index_live_rows"] == NUM + 2
    async with asyncio.timeout(20):
        while not index.settle():  # noqa: ASYNC110 - a thread of no loop makes them
            await asyncio.sleep(0.01)
    assert list(index.probes()) == [SCOPE + LARGE]
    assert [vectors.search(SCOPE + LARGE, vector(number), 1)[0].id for number in (0, 220, 299)] == ["0", "220", "299"]
    await vectors.close()


async def test_what_was_not_read_may_be_there_until_all_is_read(store: Store) -> None:
    vectors, store.stops_at = vectors_of(store, VectorIndex(16)), 200
    await vectors.open()
    assert [vectors.is_empty(SCOPE + one) for one in (LARGE, LATE, NONE)] == [False, False, False]
    assert [vectors.is_slow(SCOPE + one) for one in (LARGE, LATE, NONE)] == [False, True, True]

    store.stops_at = None
    await vectors.renew()  # a feed that was lost meanwhile
    assert [vectors.is_empty(SCOPE + one) for one in (LARGE, LATE, NONE)] == [False, False, True]
    assert [vectors.is_slow(SCOPE + one) for one in (LARGE, LATE, NONE)] == [False, False, False]
    assert len(vectors) == NUM + 2
    await vectors.close()


async def test_what_is_read_is_found_before_all_is_read_and_what_is_new_comes_beside_it(store: Store) -> None:
    vectors, store.stops_at, store.gate = vectors_of(store, VectorIndex(16)), 200, asyncio.Event()
    told: list[tuple[str, int]] = []
    opening = asyncio.create_task(vectors.open(lambda: told.append((vectors.fingerprint, len(vectors)))))
    await store.stopped.wait()
    assert told == [(EMBEDDER.fingerprint, 0)]
    assert (vectors.is_ready, len(vectors), vectors.opening) == (True, 200, "192 vectors read")
    assert vectors.search(SCOPE + LARGE, vector(7), 1)[0].id == "7"
    assert (vectors.is_slow(SCOPE + LARGE), vectors.is_slow(SCOPE + LATE)) == (False, True)

    new = replace(entry(NUM + 2, LATE), embedder=None, vector=None)
    await store.put(new)
    await vectors.remember(Unembedded(new.id, SCOPE, LATE, new.question or "", None))
    vectors.drop(SCOPE + LARGE, "7")
    assert not vectors.is_slow(SCOPE + LATE)
    store.gate.set()
    await opening

    assert {one.id for one in vectors.search(SCOPE + LATE, vector(NUM), 5)} == {"300", "301", "302"}
    assert "7" not in {one.id for one in vectors.search(SCOPE + LARGE, vector(7), NUM)}
    assert len(vectors) == NUM + 2
    await vectors.close()


async def test_a_hit_by_meaning_comes_of_what_was_read_so_far(tmp_path: Path) -> None:
    store, embedder, rule = Store(), HashingEmbedder(256), LaneRule.of("t", Rules(shadow_rate=0.0))

    def asked(setting: str, question: str) -> Fingerprints:
        said = ({"role": "system", "content": setting}, {"role": "user", "content": question})
        return fingerprints(b"s" * 32, SCOPE, ChatRequest("m", said, {}), {})

    for number, setting in enumerate(("early", "late")):
        question = "What is the capital of France?"
        fp, raw = asked(setting, question), embedder.embed([question])[0].astype("<f4").tobytes()
        bare = Entry(setting, SCOPE, fp.exact, fp.compat, b"", question, "m", Completion(()), 1.0 + number, None, 0.1)
        await store.put(replace(bare, embedder=embedder.fingerprint, vector=raw))
    semantic = Semantic(
        store,
        EmbeddingBatcher(lambda: embedder),
        VectorIndex,
        LabelStore(tmp_path / "labels.db", per_tenant=100),
        b"s" * 32,
        Choices(),
        Verifiers(),
        new_lane=PlainLane,
    )

    async def told(setting: str) -> str:
        question = "What is the capital city of France?"
        fp = asked(setting, question)
        found = await semantic.find(fp, question, rule=rule, min_similarity=0.0, is_usable=lambda _: True)
        return found.entry.id if isinstance(found, Match) else found.reason

    store.stops_at, store.gate = 1, asyncio.Event()
    opening = asyncio.create_task(semantic.open())
    await store.stopped.wait()
    while_it_is_filled = [await told(setting) for setting in ("early", "late", "neither")]
    store.gate.set()
    await opening
    filled = [await told(setting) for setting in ("early", "late", "neither")]
    await semantic.close()

    assert while_it_is_filled == ["early", "index_loading", "index_loading"]
    assert filled == ["early", "late", "no_candidates"]
