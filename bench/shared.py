"""Answers in a shared Redis: what each kind of request asks of it, how long that takes, what an entry weighs there.

    python -m bench shared

One process, one real redis-server, the store as a gateway has it: memory in front. Commands are what goes over the
wire (a script is one), round trips are how often somebody waits. Answers are of plain words, so they pack as well as
words do. What an entry weighs is `used_memory` over all of them, and `MEMORY USAGE` of its own keys; the budget counts
by another rule, known before anything is written, and the last row says how far that is from Redis' own.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from backends.chat import Choice, Completion, Usage
from bench.figures import median, percentile
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from gateway.answers.base import Entry, unembedded_of
from gateway.answers.memory import MemoryAnswers
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.identity.canonical import entry_id_of

SECRET = b"benchmark".ljust(32, b".")
VECTOR_BYTES = 4 * 384
TEXT = "a cache keeps what was answered once and serves it again when somebody asks the same in the same scope"
WORDS = TEXT.split()
ANSWER_WORDS = 200


def run(scale: Scale) -> list[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        return asyncio.run(_measure(stack.enter_context(redis_server(folder)), scale))


async def _measure(url: str, scale: Scale) -> list[Row]:
    link = Link(url, SECRET, timeout_s=10.0)
    store = RedisAnswers(link, replica=b"bench", budget_bytes=2**30)
    await store.open()
    rows = await _weights(link, store, scale.of(10_000, 300))
    rows += await _requests(link, store, scale.of(1000, 50))
    await store.close()
    await link.close()
    return rows


async def _weights(link: Link, store: RedisAnswers, num: int) -> list[Row]:
    before = await _used_bytes(link)
    for number in range(num):
        await store.put(_entry(number))
    bare = await _used_bytes(link) - before
    entries = [_entry(number) for number in range(num)]
    for entry in entries:
        row = unembedded_of(entry)
        assert row is not None
        await store.set_vector(row, "bench", _vector(entry))
    whole, figures = await _used_bytes(link) - before, await store.figures()
    feed = int(await link.call("MEMORY", "USAGE", link.names.feed))
    names, sample = link.names, entries[0]
    shelf, member = names.shelf(names.shelf_of(sample.exact)), names.member(sample.scope, sample.exact)
    body, vector = [int(await link.call("MEMORY", "USAGE", shelf + part + member)) for part in (b":a:", b":v:")]
    parts, by_budget = f"its body {body}, its vector {vector}", figures.size_bytes / 1e6
    note = f"{num} entries; the feed, {feed / num:.0f} bytes of an entry's {feed / num / 2:.0f} an event, is in it"
    return [
        Row("shared", "memory of an entry without a vector", bare / num, "bytes", note=note),
        Row(
            "shared",
            "memory of an entry with a vector of 384",
            whole / num,
            "bytes",
            note=parts,
        ),
        Row("shared", "memory of all entries", whole / 1e6, "MB", by_budget, "as the budget counts them"),
    ]


async def _requests(link: Link, store: RedisAnswers, num: int) -> list[Row]:
    memory = MemoryAnswers(256 * 2**20)
    near, other = TieredAnswers(memory, store), TieredAnswers(MemoryAnswers(256 * 2**20), store)
    new = [_entry(number, kind="new") for number in range(num)]

    async def keep(entry: Entry) -> None:
        near.put_now(entry)
        await near.settle(entry)

    async def embed(entry: Entry) -> None:
        row = unembedded_of(entry)
        assert row is not None
        await near.set_vector(row, "bench", _vector(entry))

    steps: dict[str, Callable[[Entry], Awaitable[Any]]] = {
        "a miss": lambda entry: near.get(entry.scope, entry.exact),
        "an answer kept, behind the caller": keep,
        "its vector, behind the caller": embed,
        "an exact hit in memory": lambda entry: near.get(entry.scope, entry.exact),
        "an exact hit in Redis": lambda entry: other.get(entry.scope, entry.exact),
        "the entry of a hit by meaning, in memory": lambda entry: near.by_id(entry.scope, entry.id),
    }
    rows = [await _step(link, what, work, new) for what, work in steps.items()]
    third = TieredAnswers(MemoryAnswers(256 * 2**20), store)
    by_meaning = "the entry of a hit by meaning, in Redis"
    return [*rows, await _step(link, by_meaning, lambda entry: third.by_id(entry.scope, entry.id), new)]


async def _step(link: Link, what: str, work: Callable[[Entry], Awaitable[Any]], entries: list[Entry]) -> Row:
    commands, trips, took = link.commands, link.round_trips, list[float]()
    for entry in entries:
        began_s = time.perf_counter()
        await work(entry)
        took.append(time.perf_counter() - began_s)
    asked, waited = (link.commands - commands) / len(entries), (link.round_trips - trips) / len(entries)
    note = f"{asked:.2f} commands, {waited:.2f} round trips; p99 {percentile(took, 99) * 1e6:.0f} us"
    return Row("shared", f"{what}, p50", median(took) * 1e6, "us", note=note)


async def _used_bytes(link: Link) -> int:
    return int((await link.call("INFO", "memory"))["used_memory"])


def _entry(number: int, kind: str = "old") -> Entry:
    draws = random.Random(f"{kind} {number}")
    exact = draws.randbytes(32)
    words = " ".join(draws.choices(WORDS, k=12))
    answer = " ".join(draws.choices(WORDS, k=ANSWER_WORDS))
    return Entry(
        id=entry_id_of(SECRET, exact),
        scope=bytes(32),
        exact=exact,
        compat=bytes(32),
        canonical=b'{"messages":[{"content":"%s","role":"user"}],"model":"m"}' % words.encode(),
        question=words,
        model="m",
        completion=Completion((Choice({"role": "assistant", "content": answer}, "stop"),), Usage(20, 250)),
        created_s=time.time(),
        expires_s=None,
        elapsed_s=2.0,
        tenant="t",
    )


def _vector(entry: Entry) -> bytes:
    return random.Random(entry.id).randbytes(VECTOR_BYTES)
