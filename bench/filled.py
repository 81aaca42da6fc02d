"""A data directory with many stored answers that real requests hit: made once, measured by several benchmarks.

The first entry is put through the gateway, so that scope, revision and tenant are what the gateway makes of them; the
others are like it, each with a request, an answer of 1.5 KB and a vector of its own. Half share one partition, whose
lists have to be trained; the others lie ten to a partition. Vectors lie between random directions, so that they have
neighbours as questions do.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import orjson

from backends.chat import Choice, Completion, Usage
from bench.lookup.texts import DIM, like
from bench.processes import Server, listening
from gateway.answers.base import Entry
from gateway.answers.selection import Page, Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.identity.canonical import fingerprints_in
from gateway.identity.secret import SECRET_BYTES, load_secret

SECRET = b"benchmark".ljust(SECRET_BYTES, b".")
TOGETHER = 512  # puts on their way at once
SMALL = 10  # entries of a small partition
ANSWER_BYTES = 1_500
NOBODY = "http://127.0.0.1:9/v1"  # an upstream nobody needs: its address is part of what an answer is kept under
CHAT = "/v1/chat/completions"
WORDS = [
    "open",
    "the",
    "account",
    "page",
    "and",
    "choose",
    "what",
    "you",
    "would",
    "like",
    "to",
    "change",
    "in",
    "mail",
]
DEFAULT_ROOM = 150_000  # entries
ROOMY = "[cache]\ndisk_mb = 20_000\nindex_mb = 0\n"
REAL = (  # questions with the embedder's own vectors, in the large partition
    "How do I reset my password?",
    "What are your opening hours on Sundays?",
    "Can I return a pair of shoes that I have worn once?",
    "How long does a delivery to Canada take?",
)


def body_of(number: int) -> dict[str, object]:
    """The request of entry `number`; the first ones are real questions."""
    question = REAL[number] if number < len(REAL) else f"How do I reset the password of my account number {number}?"
    messages = [{"role": "user", "content": question}]
    if number % 2 and number >= len(REAL):
        messages.insert(0, {"role": "system", "content": f"You are the assistant of shop {number // (2 * SMALL)}."})
    return {"model": "m", "messages": messages}


def fill(folder: Path, num: int) -> None:
    """Put `num` entries into `folder`, unless they are there."""
    if (folder / "filled").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "secret").write_bytes(SECRET)
    with started(folder) as server, client_of(server) as client:
        wait_for_vectors(client, within_s=120)
        for number in range(len(REAL)):
            body = {"request": body_of(number), "answer": _answer(number), "elapsed_s": 1.0}
            client.put("/v1/cache/entries", json=body).raise_for_status()
        while client.get("/admin/api/stats").json()["vectors"] < len(REAL):
            time.sleep(0.05)
    asyncio.run(_put(folder, num))
    (folder / "filled").touch()


def client_of(server: Server) -> httpx.Client:
    """Somebody who asks it."""
    return httpx.Client(base_url=server.url, trust_env=False, timeout=300)


def wait_for_vectors(client: httpx.Client, within_s: float) -> None:
    """Wait until stored questions are found by meaning. The gateway as a whole is never ready, without an upstream."""
    until_s = time.monotonic() + within_s
    while not is_whole(client):
        assert time.monotonic() < until_s, "no semantic tier"
        time.sleep(0.05)


def is_whole(client: httpx.Client) -> bool:
    """Whether every stored question is found by meaning."""
    return semantic_part(client) == "ready"


def semantic_part(client: httpx.Client) -> str:
    """How far the semantic tier is."""
    return str(client.get("/readyz").json()["parts"]["semantic"])


def started(folder: Path, *, num: int = 0, cpu: int | None = None) -> AbstractContextManager[Server]:
    """A gateway over `folder`, its settings the default ones unless those have no room for `num` entries."""
    command = ["-m", "gateway", "serve", "--port", "0", "--data-dir", str(folder), "--log-level", "warning"]
    if num > DEFAULT_ROOM:
        (folder / "roomy.toml").write_text(ROOMY)
        command += ["--config", str(folder / "roomy.toml")]
    return listening([*command, "--upstream", NOBODY], cpu=cpu)


async def _put(folder: Path, num: int) -> None:
    store = SqliteAnswers(folder / "answers.db", budget_bytes=None, secret=load_secret(folder))
    await store.open()
    (row, *_) = await store.select(Selection(), Page())
    first = await store.owned(row.tenant, row.id)
    assert first is not None
    some: list[Entry] = []
    for entry in entries_like(first, len(REAL), num):
        some.append(entry)
        if len(some) == TOGETHER:
            await asyncio.gather(*map(store.put, some))
            some = []
    await asyncio.gather(*map(store.put, some))
    assert await store.size() == num
    await store.close()


def entries_like(first: Entry, start: int, end: int) -> Iterator[Entry]:
    """Entries of the requests from `start` to `end`."""
    body = orjson.loads(first.canonical)
    directions = np.random.default_rng(0).standard_normal((2_000, DIM), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = (row for rows in like(directions, end - start, seed=1) for row in rows)
    for number, vector in zip(range(start, end), vectors, strict=True):
        messages = body_of(number)["messages"]
        canonical = orjson.dumps({**body, "messages": messages}, option=orjson.OPT_SORT_KEYS)
        fp = fingerprints_in(SECRET, first.scope, canonical)
        yield replace(
            first,
            id=fp.entry_id,
            exact=fp.exact,
            compat=fp.compat,
            canonical=canonical,
            question=messages[-1]["content"],  # type: ignore[index]
            completion=Completion((Choice({"role": "assistant", "content": _answer(number)}, "stop"),), Usage(20, 300)),
            created_s=first.created_s + number * 1e-3,
            vector=vector.astype("<f4").tobytes(),
        )


def _answer(number: int) -> str:
    draws = np.random.default_rng(number).integers(0, len(WORDS), ANSWER_BYTES // 4)
    return " ".join([str(number), *(WORDS[draw] for draw in draws)])[:ANSWER_BYTES]
