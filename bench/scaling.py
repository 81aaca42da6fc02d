"""What things weigh, and what becomes of them at ten, a hundred and a thousand times the traffic.

    python -m bench scaling
    python -m bench.scaling --growth        only the table of docs/scaling.md

Weights are measured: real stores are filled. Growth is worked out and simulated, for nobody here has a thousand
machines: callers come at random times, each Redis serves one word at a time, and what a word takes is what
`python -m bench scaleout` measured. Change the figures of `Load` to those of your machines.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import ceil
from pathlib import Path

import numpy as np
import psutil
import redis
from rich.console import Console
from rich.table import Table

from backends.chat import Choice, Completion, Usage
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from embeddings.index import VectorIndex
from gateway.answers.base import Entry
from gateway.answers.memory import MemoryAnswers
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.sqlite import SqliteAnswers
from kvtier.geometry import KVGeometry
from kvtier.tiers.codec import payload_bytes

ENTRIES = 5_000
DIM = 384
SYSTEM = "You are the assistant of a shop. Answer in a friendly way, in a few sentences. " * 5  # 400 characters
ANSWER = "Open the account page and choose what you would like to change, then follow the link in the mail. " * 12
BUDGET = 4 << 30
SECRET = bytes(range(32))
MODELS = {  # layers, heads of keys and values, dimension of a head
    "Qwen2.5-0.5B": (24, 2, 64),
    "Llama-3.2-1B": (16, 8, 64),
    "Llama-3.1-8B": (32, 8, 128),
    "Llama-3.1-70B": (80, 8, 128),
}
FACTORS = (1, 10, 100, 1000)
ARRIVALS = 200_000
BUSY = 0.6  # of a core's time may be spoken for: beyond it waits grow faster than load


@dataclass(frozen=True, slots=True)
class Load:
    """Traffic at one times, and what one request of it takes. Times are of one core of the machine measured on."""

    requests: float = 50  # a second
    misses: float = 0.5  # share of them: each writes an answer
    answers: int = 100_000  # kept
    miss_ms: float = 5.0  # of a gateway's core
    hit_ms: float = 0.7
    event_ms: float = 0.3  # to follow what another gateway wrote, with its vector; 0.04 without a semantic tier
    redis_miss_us: float = 450
    redis_hit_us: float = 30
    answer_bytes: int = 5_000  # in Redis
    vector_bytes: int = 2_300  # in the index of every gateway

    @property
    def writes(self) -> float:
        return self.requests * self.misses

    @property
    def redis_us(self) -> float:
        """Of Redis, for a request as they come."""
        return self.misses * self.redis_miss_us + (1 - self.misses) * self.redis_hit_us

    @property
    def gateway_ms(self) -> float:
        return self.misses * self.miss_ms + (1 - self.misses) * self.hit_ms


@dataclass(frozen=True, slots=True)
class Need:
    """What a load takes."""

    requests: float
    gateways: int | None  # None: no number of them is enough, each would do nothing but follow
    following: float  # share of a gateway's core
    redis_nodes: int
    redis_gb: float
    index_gb: float  # of every gateway
    wait_ms: float  # for Redis, of one request in a hundred


def run(scale: Scale) -> list[Row]:
    """Bytes of an entry in every place, of a token of keys and values, and what growth takes."""
    rows = asyncio.run(_weights(scale.of(ENTRIES, 300)))
    for name, (layers, heads, dim) in MODELS.items():
        shape = KVGeometry(layers, heads, dim, "bfloat16")
        raw, int8 = (payload_bytes(shape, codec, 256) / 256 for codec in ("raw", "int8"))
        rows.append(
            Row("scaling", f"keys and values of {name}: int8", int8, "bytes/token", raw, "as computed, bfloat16")
        )
    for factor, need in growth(Load()).items():
        note = f"{need.redis_nodes} Redis, p99 wait {need.wait_ms:.2f} ms, {need.following:.0%} of a core to follow"
        gateways = None if need.gateways is None else float(need.gateways)
        rows.append(Row("scaling", f"{factor}x: {need.requests:,.0f} requests/s take", gateways, "gateways", note=note))
    return rows


def growth(load: Load) -> dict[int, Need]:
    """What each factor of the load takes."""
    return {
        factor: need(replace(load, requests=load.requests * factor, answers=load.answers * factor))
        for factor in FACTORS
    }


def need(load: Load) -> Need:
    """Gateways and nodes enough for a load."""
    nodes = max(1, ceil(load.requests * load.redis_us / 1e6 / BUSY))
    following = load.writes * load.event_ms / 1e3  # every gateway hears of every write
    room = BUSY - following
    gateways = ceil(load.requests * load.gateway_ms / 1e3 / room) if room > 0.02 else None
    return Need(
        load.requests,
        gateways,
        following,
        nodes,
        load.answers * load.answer_bytes / 1e9,
        load.answers * load.vector_bytes / 1e9,
        float(np.percentile(waits_ms(load.requests / nodes, load), 99)),
    )


def waits_ms(per_second: float, load: Load, seed: int = 1) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """How long requests wait for one Redis that serves one at a time, when they come at random (Lindley)."""
    draws = np.random.default_rng(seed)
    gaps = draws.exponential(1 / per_second, ARRIVALS)
    is_miss = draws.random(ARRIVALS) < load.misses
    service = np.where(is_miss, load.redis_miss_us, load.redis_hit_us) / 1e6
    steps = np.concatenate(([0.0], (service - gaps)[:-1]))
    walk = np.cumsum(steps)
    return (walk - np.minimum.accumulate(walk)) * 1e3


async def _weights(num: int) -> list[Row]:
    entries = [entry(number) for number in range(num)]
    text_bytes = len(SYSTEM) + len(entries[0].question or "") + len(ANSWER)
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as name:
        folder = Path(name)
        weights = {
            "memory": await _in_memory(num),
            "SQLite, with the vector": await _in_sqlite(folder / "answers.db", entries),
            "Redis, with the vector": await _in_redis(folder, entries),
            "the index, partitions of ten": _in_index(entries, 10),
            "the index, one partition": _in_index(entries, num),
        }
    note = f"{text_bytes:,} characters of question, system prompt and answer"
    return [Row("scaling", f"an answer in {where}", size, "bytes", text_bytes, note) for where, size in weights.items()]


async def _in_memory(num: int) -> float:
    """By what the process holds more: objects of Python weigh more than their text."""
    before = psutil.Process().memory_info().rss
    store = MemoryAnswers(BUDGET)
    for number in range(num):
        await store.put(replace(entry(number), vector=None))
    return float(psutil.Process().memory_info().rss - before) / num


async def _in_sqlite(path: Path, entries: Sequence[Entry]) -> float:
    store = SqliteAnswers(path, budget_bytes=BUDGET)
    await store.open()
    for one in entries:
        await store.put(one)
    await store.close()
    return os.path.getsize(path) / len(entries)  # noqa: PTH202, ASYNC240


async def _in_redis(folder: Path, entries: Sequence[Entry]) -> float:
    with redis_server(folder) as url:
        client = redis.Redis.from_url(url)
        before: int = client.info("memory")["used_memory"]
        link = Link(url, SECRET, timeout_s=30.0)
        store = RedisAnswers(link, replica=b"bench", budget_bytes=BUDGET)
        await store.open()
        for one in entries:
            await store.put(one)
        await store.close()
        await link.close()
        after: int = client.info("memory")["used_memory"]
        client.close()
    return float(after - before) / len(entries)


def _in_index(entries: Sequence[Entry], partition: int) -> float:
    index = VectorIndex(DIM)
    for number, one in enumerate(entries):
        where = (number // partition).to_bytes(32, "little")
        index.add(where, one.id, np.frombuffer(one.vector or b"", "<f4"))
    return index.nbytes / len(entries)


def entry(number: int) -> Entry:
    """An answer of some sentences to a question under a system prompt."""
    exact = blake2b(b"%d" % number, digest_size=32).digest()
    vector = np.random.default_rng(number).standard_normal(DIM).astype("<f4")
    question = f"How do I change the address of my account number {number}?"
    return Entry(
        "e_" + exact.hex()[:24],
        bytes(32),
        exact,
        bytes(32),
        f'{{"messages":[{{"content":"{SYSTEM}","role":"system"}},{{"content":"{question}","role":"user"}}]}}'.encode(),
        question,
        "model",
        Completion((Choice({"role": "assistant", "content": ANSWER + str(number)}, "stop"),), Usage(110, 260)),
        1_700_000_000.0 + number,
        None,
        3.0,
        embedder="embedder",
        vector=(vector / np.linalg.norm(vector)).astype("<f4").tobytes(),
        tenant="tenant",
    )


def main() -> None:
    """Print the table of growth."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description="What growth takes.")
    parser.add_argument("--growth", action="store_true", required=True)
    for item, value in ((item, getattr(Load(), item)) for item in Load.__dataclass_fields__):
        parser.add_argument(f"--{item.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args())
    options.pop("growth")
    table = Table("", "requests/s", "gateways", "core to follow", "Redis", "GB in Redis", "GB of index", "p99 wait")
    for factor, one in growth(Load(**options)).items():
        table.add_row(
            f"{factor}x", f"{one.requests:,.0f}", "none is enough" if one.gateways is None else f"{one.gateways:,}",
            f"{one.following:.0%}", str(one.redis_nodes), f"{one.redis_gb:,.1f}", f"{one.index_gb:,.1f}",
            f"{one.wait_ms:.2f} ms",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
