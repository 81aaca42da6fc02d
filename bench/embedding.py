"""Embedding runtimes side by side, on the model that comes by pip: one question, batches, and how far scores stray.

All take turns in one process, with one torch thread; a turn is a few texts by one runtime, so that its weights are as
warm in the cache as they are between two lookups. No text is given twice. `python -m bench.quality.precision` says
what the strays do to decisions.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import islice, product

import numpy as np

from bench.figures import median, percentile
from bench.questions import DEEDS, THINGS
from bench.rows import Row, Scale
from embeddings.base import Embedder
from embeddings.batcher import EmbeddingBatcher
from embeddings.local import SentenceTransformerEmbedder, load_embedder
from gateway.serve import SWITCH_S
from gateway.services.semantic import NICENESS

REFERENCE = "sentence-transformers float32"
SHAPES = {
    "short": "How do I {} {}?",
    "medium": "What is the best way to {} {} at home, and how long will it take?",
    "long": "I moved house last week. " * 8 + "Please tell me in plain words how to {} {} here.",
}
BATCHES = (1, 4, 16)
TURN = 4  # texts
TICK_S, WORK_S = 0.002, 0.001  # what the loop waits for, and then does


def run(scale: Scale) -> list[Row]:
    """Every runtime that this processor has, beside the library."""
    reference = SentenceTransformerEmbedder(threads=1).load()
    import_module("torch").set_num_threads(1)
    runtimes: dict[str, Embedder] = {
        REFERENCE: reference,
        "onnxruntime float32": load_embedder(threads=1),  # what a gateway has
        "torch float32": reference.quickened("float32"),
        "torch bfloat16": reference.quickened("bfloat16"),
    }
    rows: list[Row] = []
    for shape, pattern in SHAPES.items():
        questions = _texts(pattern)[: scale.of(40 if shape != "long" else 16, 8)]
        rows += _single(f"one {shape} question", {name: one.embed for name, one in runtimes.items()}, questions)
        if shape == "short":
            questions = _texts(pattern)[-scale.of(24, 8) :]
            rows += _single("the same with states", {name: one.read for name, one in runtimes.items()}, questions)
    for size in BATCHES:
        rows += _throughput(runtimes, size, scale.of(64, 32))
    return rows + _strays(runtimes, scale.of(150, 60)) + _beside_a_loop(runtimes, scale.of(300, 50))


def _beside_a_loop(runtimes: dict[str, Embedder], ticks: int) -> list[Row]:
    """How late an event loop is that shares one core with an embedder at work, as in a gateway that fills its index."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    found = {name: asyncio.run(_lateness(one, 0, ticks)) for name, one in runtimes.items() if name != REFERENCE}
    found["onnxruntime float32, its thread standing back"] = asyncio.run(
        _lateness(runtimes["onnxruntime float32"], NICENESS, ticks)
    )
    idle = found.pop("torch float32")
    return [
        Row("embedding", f"event loop late beside it, p99: {name}", late, "ms", idle, "torch float32")
        for name, late in found.items()
    ]


async def _lateness(embedder: Embedder, niceness: int, ticks: int) -> float:
    """The p99, in ms."""
    batcher = EmbeddingBatcher(lambda: embedder, niceness=niceness)
    await batcher.ready()
    every, late = sorted(os.sched_getaffinity(0)), list[float]()
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    os.sched_setaffinity(0, every[-1:])  # this thread
    worker = next(thread for thread in threading.enumerate() if thread.name == "embedder")
    os.sched_setaffinity(worker.native_id or 0, every[-1:])
    try:
        texts = iter(_texts(SHAPES["medium"]))
        waiting = [asyncio.create_task(batcher.embed(text, is_patient=True)) for text in islice(texts, 900)]
        for _ in range(ticks):
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            late.append((time.perf_counter() - due) * 1000)
            _compute(WORK_S)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        os.sched_setaffinity(0, every)
        sys.setswitchinterval(before)
        await batcher.close()
    return percentile(late, 99)


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def _texts(pattern: str) -> list[str]:
    return [pattern.format(deed, thing) for thing, deed in product(THINGS, DEEDS)]


def _single(what: str, contenders: dict[str, Callable[[Sequence[str]], object]], texts: Sequence[str]) -> list[Row]:
    """Each text by each, `TURN` at a time; once before the clock runs, as a cold cache is the turn's and not theirs."""
    passed: dict[str, list[float]] = {name: [] for name in contenders}
    worked: dict[str, list[float]] = {name: [] for name in contenders}
    waiting = iter(texts)
    while turn := list(islice(waiting, TURN)):
        for name, embed in contenders.items():
            embed(turn[:1])
            for text in turn:
                started, at = time.perf_counter(), time.thread_time()
                embed([text])
                worked[name].append((time.thread_time() - at) * 1000)
                passed[name].append((time.perf_counter() - started) * 1000)
    return [*_beside(f"{what}, p50", passed, "ms"), *_beside(f"{what}, p50 of processor time", worked, "ms")]


def _throughput(runtimes: dict[str, Embedder], size: int, count: int) -> list[Row]:
    """Texts of three lengths, mixed, as they gather while the embedder is busy."""
    short, medium = _texts(SHAPES["short"]), _texts(SHAPES["medium"])
    mixed = [text for pair in zip(short[300:], medium[300:], strict=True) for text in pair][:count]
    batches = [mixed[start : start + size] for start in range(0, len(mixed), size)]
    found: dict[str, list[float]] = {name: [] for name in runtimes}
    for batch in batches:
        for name, one in runtimes.items():
            started = time.perf_counter()
            one.embed(batch)
            found[name].append(len(batch) / (time.perf_counter() - started))
    return _beside(f"texts of two lengths, {size} together", found, "texts/s")


def _beside(what: str, found: dict[str, list[float]], unit: str) -> list[Row]:
    figures = {name: median(values) for name, values in found.items()}
    reference = figures.pop(REFERENCE)
    return [Row("embedding", f"{what}: {name}", value, unit, reference, REFERENCE) for name, value in figures.items()]


def _strays(runtimes: dict[str, Embedder], count: int) -> list[Row]:
    """The largest difference of a cosine between any two of some texts."""
    texts = [text for pattern in SHAPES.values() for text in _texts(pattern)[:: len(DEEDS) * len(THINGS) * 3 // count]]
    vectors = {name: one.embed(texts) for name, one in runtimes.items()}
    right = vectors.pop(REFERENCE)
    return [
        Row("embedding", f"a cosine off by up to: {name}", float(np.abs(some @ some.T - right @ right.T).max()), "",
            note=f"{len(texts)} texts, every pair")
        for name, some in vectors.items()
    ]  # fmt: skip
