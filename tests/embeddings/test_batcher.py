import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embeddings.base import DoesNotFit, Embedder, EmbedderError, Reading, Vectors
from embeddings.batcher import EmbeddingBatcher
from embeddings.hashing import HashingEmbedder


class Gated(HashingEmbedder):
    """Records its batches and waits for a gate before each."""

    def __init__(self) -> None:
        super().__init__(32)
        self.gate = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[str]] = []
        self.spoil: Callable[[Vectors], Vectors] = lambda vectors: vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.started.set()
        assert self.gate.wait(30)
        if "poison" in texts:
            raise RuntimeError("the model choked")
        return self.spoil(super().embed(texts))

    def read(self, texts: Sequence[str]) -> list[Reading]:
        readings = super().read(texts)
        rows = self.embed(texts)
        return [replace(reading, vector=row) for reading, row in zip(readings, rows, strict=False)]

    def fits(self, text: str) -> bool:
        return len(text) < 1000


@asynccontextmanager
async def batching(embedder: Gated, **options: Any) -> AsyncIterator[EmbeddingBatcher]:
    batcher = EmbeddingBatcher(lambda: embedder, **options)
    try:
        yield batcher
    finally:
        embedder.gate.set()
        await batcher.close()


async def started(embedder: Gated) -> None:
    assert await asyncio.to_thread(embedder.started.wait, 30)


@pytest.mark.parametrize("text", ["poison", "x" * 1000], ids=["choked", "does not fit"])
async def test_an_error_is_freed_without_a_collection(text: str) -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        await batcher.embed("hello")
        gc.collect()
        gc.disable()
        try:
            seen: weakref.ref[EmbedderError] | None = None
            try:
                await batcher.read([text])
            except EmbedderError as error:
                seen = weakref.ref(error)
            await batcher.embed("and then")  # the worker is at something else
            assert seen is not None
            assert seen() is None
        finally:
            gc.enable()


async def test_a_text_becomes_the_embedders_own_vector() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        vector = await batcher.embed("hello")

    assert vector.dtype == np.float32
    assert vector.tolist() == HashingEmbedder(32).embed(["hello"])[0].tolist()


async def test_what_arrives_while_the_model_is_busy_shares_the_next_batch() -> None:
    embedder = Gated()
    async with batching(embedder, max_batch=3) as batcher:
        first = asyncio.create_task(batcher.embed("first"))
        await started(embedder)
        rest = [asyncio.create_task(batcher.embed(f"text {i}")) for i in range(5)]
        await asyncio.sleep(0)
        embedder.gate.set()
        await asyncio.gather(first, *rest)

    assert embedder.batches == [["first"], ["text 0", "text 1", "text 2"], ["text 3", "text 4"]]
    assert (batcher.stats.texts, batcher.stats.batches) == (6, 3)


async def test_a_text_asked_for_at_once_is_embedded_once() -> None:
    embedder = Gated()
    async with batching(embedder) as batcher:
        asked = [asyncio.create_task(batcher.embed("same")) for _ in range(50)]
        await started(embedder)
        asked += [asyncio.create_task(batcher.embed("same")) for _ in range(50)]
        await asyncio.sleep(0)
        embedder.gate.set()
        vectors = await asyncio.gather(*asked)

    assert embedder.batches == [["same"]]
    assert batcher.stats.joined == 99
    assert all(vector is vectors[0] for vector in vectors)


async def test_a_text_is_remembered_until_newer_ones_push_it_out() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder, memo_entries=2) as batcher:
        for text in ("a", "b", "a", "c", "a", "b"):
            await batcher.embed(text)

    assert embedder.batches == [["a"], ["b"], ["c"], ["b"]]
    assert batcher.stats.memo_hits == 2


async def test_a_shared_vector_cannot_be_written() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        vector = await batcher.embed("a")

    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


async def test_a_text_the_model_chokes_on_fails_alone() -> None:
    embedder = Gated()
    async with batching(embedder) as batcher:
        first = asyncio.create_task(batcher.embed("first"))
        await started(embedder)
        rest = [asyncio.create_task(batcher.embed(text)) for text in ("good", "poison", "fine")]
        await asyncio.sleep(0)
        embedder.gate.set()
        await first
        good, bad, fine = await asyncio.gather(*rest, return_exceptions=True)
        again = await batcher.embed("still alive")

    assert isinstance(bad, EmbedderError)
    assert "choked" in str(bad)
    assert isinstance(good, np.ndarray)
    assert isinstance(fine, np.ndarray)
    assert again.shape == (32,)
    assert batcher.stats.failures == 1


@pytest.mark.parametrize(
    "spoil", [lambda vectors: vectors[:, :3], lambda vectors: vectors * np.float32(np.nan), lambda vectors: vectors[:0]]
)
async def test_a_wrong_vector_is_an_error_and_not_remembered(spoil: Callable[[Vectors], Vectors]) -> None:
    embedder = Gated()
    embedder.spoil = spoil
    embedder.gate.set()
    async with batching(embedder) as batcher:
        with pytest.raises(EmbedderError):
            await batcher.embed("a")
        embedder.spoil = lambda vectors: vectors
        assert (await batcher.embed("a")).shape == (32,)


async def test_a_text_that_does_not_fit_is_told_apart_from_a_failure() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        with pytest.raises(DoesNotFit):
            await batcher.embed("x" * 1000)

    assert batcher.stats.failures == 0
    assert embedder.batches == []


async def test_a_slow_model_is_an_error_in_time_and_the_next_caller_still_gets_its_work() -> None:
    embedder = Gated()
    async with batching(embedder, timeout_s=0.05) as batcher:
        with pytest.raises(EmbedderError, match=r"0\.05 s"):
            await batcher.embed("slow")
        embedder.gate.set()
        await batcher.embed("slow")

    assert embedder.batches == [["slow"]]
    assert batcher.stats.timeouts == 1


async def test_a_model_that_hangs_costs_later_callers_no_wait_and_holds_up_no_end() -> None:
    embedder = Gated()
    async with batching(embedder, timeout_s=0.05, hang_s=0.05, close_s=0.05) as batcher:
        with pytest.raises(EmbedderError, match=r"0\.05 s"):
            await batcher.embed("hangs")
        with pytest.raises(EmbedderError, match="at one batch"):
            await batcher.embed("later")
        await batcher.close()
        with pytest.raises(EmbedderError, match="closed"):
            await batcher.embed("after")
        embedder.gate.set()

    assert batcher.stats.timeouts == 1


async def test_a_full_queue_refuses_at_once_and_empties_when_callers_leave() -> None:
    embedder = Gated()
    async with batching(embedder, max_waiting=2) as batcher:
        busy = asyncio.create_task(batcher.embed("busy"))
        await started(embedder)
        waiting = [asyncio.create_task(batcher.embed(f"text {i}")) for i in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(EmbedderError, match="waiting"):
            await batcher.embed("one too many")
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        late = asyncio.create_task(batcher.embed("late"))
        await asyncio.sleep(0)
        embedder.gate.set()
        await asyncio.gather(busy, waiting[1], late)

    assert embedder.batches == [["busy"], ["text 1", "late"]]
    assert batcher.stats.refused == 1


async def test_the_patient_wait_until_nobody_is_in_a_hurry_and_go_in_smaller_batches() -> None:
    embedder = Gated()
    async with batching(embedder, max_patient_batch=2) as batcher:
        asked = [asyncio.create_task(batcher.embed("busy"))]
        await started(embedder)
        asked += [asyncio.create_task(batcher.embed(f"stored {i}", is_patient=True)) for i in range(3)]
        await asyncio.sleep(0)
        asked += [asyncio.create_task(batcher.embed(f"asked {i}")) for i in range(3)]
        await asyncio.sleep(0)
        embedder.gate.set()
        await asyncio.gather(*asked)

    assert embedder.batches == [
        ["busy"],
        ["asked 0", "asked 1", "asked 2"],
        ["stored 0", "stored 1"],
        ["stored 2"],
    ]
    assert (batcher.stats.texts, batcher.stats.patient) == (7, 3)


async def test_a_text_that_waits_patiently_is_taken_along_by_one_in_a_hurry() -> None:
    embedder = Gated()
    async with batching(embedder, max_patient_batch=1) as batcher:
        asked = [asyncio.create_task(batcher.embed("busy"))]
        await started(embedder)
        asked += [asyncio.create_task(batcher.embed(f"stored {i}", is_patient=True)) for i in range(3)]
        await asyncio.sleep(0)
        asked.append(asyncio.create_task(batcher.embed("stored 2")))
        await asyncio.sleep(0)
        embedder.gate.set()
        vectors = await asyncio.gather(*asked)

    assert embedder.batches == [["busy"], ["stored 2"], ["stored 0"], ["stored 1"]]
    assert vectors[-1] is vectors[-2]


async def test_the_patient_outlast_the_timeout() -> None:
    embedder = Gated()
    async with batching(embedder, timeout_s=0.02) as batcher:
        patient = asyncio.create_task(batcher.embed("slow", is_patient=True))
        await started(embedder)
        with pytest.raises(EmbedderError):
            await batcher.embed("slow")
        embedder.gate.set()

        assert (await patient).shape == (32,)


async def test_the_patient_have_a_bound_of_their_own_and_may_leave() -> None:
    embedder = Gated()
    async with batching(embedder, max_waiting=1, max_patient=2) as batcher:
        busy = asyncio.create_task(batcher.embed("busy"))
        await started(embedder)
        stored = [asyncio.create_task(batcher.embed(f"stored {i}", is_patient=True)) for i in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(EmbedderError, match="waiting"):
            await batcher.embed("one too many", is_patient=True)
        asked = asyncio.create_task(batcher.embed("asked"))
        stored[0].cancel()
        await asyncio.wait(stored[:1])
        embedder.gate.set()
        await asyncio.gather(busy, stored[1], asked)

    assert embedder.batches == [["busy"], ["asked"], ["stored 1"]]
    assert batcher.stats.refused == 1


async def test_closing_fails_the_patient_too() -> None:
    embedder = Gated()
    async with batching(embedder) as batcher:
        busy = asyncio.create_task(batcher.embed("busy"))
        await started(embedder)
        patient = asyncio.create_task(batcher.embed("stored", is_patient=True))
        await asyncio.sleep(0)
        embedder.gate.set()
        await batcher.close()
        for asked in (busy, patient):
            with pytest.raises(EmbedderError, match="closed"):
                await asked


async def test_a_failed_load_is_remembered_and_reported() -> None:
    gate = threading.Event()

    def load() -> Embedder:
        assert gate.wait(30)
        raise EmbedderError("the weights are missing")

    batcher = EmbeddingBatcher(load)
    waiting = asyncio.create_task(batcher.embed("early"))
    await asyncio.sleep(0)
    assert batcher.state == "loading"
    gate.set()
    for asked in (waiting, batcher.ready(), batcher.embed("late")):
        with pytest.raises(EmbedderError, match="weights are missing"):
            await asked
    assert (batcher.state, batcher.detail) == ("failed", "the weights are missing")
    await batcher.close()


async def test_ready_returns_the_embedder_to_everyone_who_waits() -> None:
    embedder = Gated()
    gate = threading.Event()

    def load() -> Embedder:
        assert gate.wait(30)
        return embedder

    batcher = EmbeddingBatcher(load)
    waiting = [asyncio.create_task(batcher.ready()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == [embedder] * 3
    assert (batcher.state, await batcher.ready()) == ("ready", embedder)
    await batcher.close()


async def test_closing_fails_who_waits_and_ends_the_thread() -> None:
    others = set(threading.enumerate())  # batchers that other tests share
    embedder = Gated()
    batcher = EmbeddingBatcher(lambda: embedder)
    busy = asyncio.create_task(batcher.embed("busy"))
    await started(embedder)
    waiting = asyncio.create_task(batcher.embed("waiting"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    for asked in (busy, waiting):
        with pytest.raises(EmbedderError, match="closed"):
            await asked
    embedder.gate.set()
    await closing
    await batcher.close()

    with pytest.raises(EmbedderError, match="closed"):
        await batcher.embed("late")
    with pytest.raises(EmbedderError, match="closed"):
        await batcher.ready()
    assert not [thread for thread in set(threading.enumerate()) - others if thread.name == "embedder"]


async def test_many_callers_at_random_all_get_their_own_vector() -> None:
    embedder = Gated()
    embedder.gate.set()
    texts = [f"question {i * i % 37}" for i in range(400)]
    async with batching(embedder, max_batch=4, memo_entries=8) as batcher:
        vectors = await asyncio.gather(*(batcher.embed(text, is_patient=n % 3 == 0) for n, text in enumerate(texts)))

    expected = HashingEmbedder(32).embed(texts)
    assert np.array_equal(np.stack(vectors), expected)


async def test_readings_come_in_order_from_one_batch_and_bring_the_vectors() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        b, a, again = await batcher.read(["two words", "one", "two words"])
        vector = await batcher.embed("one")

    assert embedder.batches == [["two words", "one"]]
    assert (b.text, b.pieces, b.states.shape) == ("two words", ("two", "words"), (2, 32))
    assert again is b
    assert vector is a.vector
    assert batcher.stats.memo_hits == 1


async def test_a_text_whose_vector_alone_is_known_is_read() -> None:
    embedder = Gated()
    async with batching(embedder) as batcher:
        embedding = asyncio.create_task(batcher.embed("a"))
        await started(embedder)
        reading = asyncio.create_task(batcher.read(["a"]))
        await asyncio.sleep(0)
        embedder.gate.set()
        (read,) = await reading

    assert embedder.batches == [["a"], ["a"]]
    assert read.vector.tolist() == (await embedding).tolist()


async def test_the_memo_of_readings_is_bounded_in_bytes() -> None:
    embedder = Gated()
    embedder.gate.set()
    one = embedder.read(["a"])[0].size_bytes
    embedder.batches.clear()
    async with batching(embedder, memo_entries=0, memo_bytes=2 * one) as batcher:
        for text in ("a", "b", "a", "c", "a", "b"):
            await batcher.read([text])
        await batcher.read(["far too long " * 20])

    assert embedder.batches[:4] == [["a"], ["b"], ["c"], ["b"]]


async def test_a_shared_reading_cannot_be_written() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        (reading,) = await batcher.read(["a b"])

    for array in (reading.vector, reading.states):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


async def test_one_bad_text_fails_a_reading_of_several_and_the_good_ones_are_remembered() -> None:
    embedder = Gated()
    embedder.gate.set()
    async with batching(embedder) as batcher:
        with pytest.raises(EmbedderError, match="choked"):
            await batcher.read(["poison", "good"])
        with pytest.raises(DoesNotFit):
            await batcher.read(["x" * 1000, "y" * 1000])
        await batcher.read(["good"])

    assert embedder.batches == [["poison", "good"], ["poison"], ["good"]]


async def test_long_texts_go_alone_so_that_nobody_waits_for_many_of_them() -> None:
    embedder = Gated()
    async with batching(embedder, max_batch_chars=100) as batcher:
        waiting = [asyncio.create_task(batcher.embed("first"))]
        await started(embedder)
        texts = ["a" * 60, "b" * 60, "c" * 30, "d" * 200, "e"]
        waiting += [asyncio.create_task(batcher.embed(text)) for text in texts]
        await asyncio.sleep(0)
        embedder.gate.set()
        await asyncio.gather(*waiting)

        assert embedder.batches[1:] == [texts[:1], texts[1:3], texts[3:4], texts[4:]]


@pytest.mark.skipif(sys.platform != "linux", reason="counts niceness by thread on Linux alone")
async def test_its_thread_stands_back_and_no_other_does() -> None:
    seen: list[int] = []

    class Watched(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().embed(texts)

    before = os.getpriority(os.PRIO_PROCESS, 0)
    batcher = EmbeddingBatcher(Watched, niceness=19)
    await batcher.embed("a text")
    await batcher.close()

    assert seen == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
