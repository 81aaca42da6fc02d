"""How long a gateway takes from its start until it serves: with 100,000 answers in Redis, and with the same in a file.

    python -m bench.restart --folder DIR        fills DIR once (a minute or two), measures whatever is there

Half of the questions share one partition, whose lists have to be trained; the others lie ten to a partition. The first
start of a gateway has nothing at hand, a restart has what was trained, and the keys of bare forms. `serving` is until
an exact hit comes out of the store, `ready` until hits by meaning do, from the start of the process: Python, imports
and the embedder, which come first, are the start with no answers at all.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import httpx
import numpy as np
import psutil
from rich.console import Console

from bench.processes import listening, upstream
from bench.redis_server import DUMP, redis_server
from bench.rows import Row, Scale, show
from gateway.answers.base import Entry, Store
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Page, Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.identity.canonical import entry_id_of
from gateway.identity.secret import SECRET_BYTES

ENTRIES = 100_000
TOGETHER = 128  # puts on their way at once
PATIENCE_S = 120.0
SMALL = 10  # entries of a small partition
SECRET = b"benchmark".ljust(SECRET_BYTES, b".")
QUESTION = "How do I reset my password?"
BUDGET_BYTES = 4 << 30
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of the process, and what it held when it was ready."""

    listening_s: float
    serving_s: float
    ready_s: float
    cpu_s: float  # what neighbours change less
    memory_mb: float
    vectors: int
    network_mb: float


def run(scale: Scale) -> list[Row]:
    """Fill, and measure."""
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        return measure(Path(folder), scale.of(ENTRIES, 2_000))


def measure(folder: Path, num: int) -> list[Row]:
    """Starts with nothing, with Redis and with the file, each the first time and again."""
    with upstream() as backend:
        if not (folder / "filled").exists():
            _fill(folder, backend.url, num)
            (folder / "filled").touch()
        (folder / "none").mkdir(exist_ok=True)
        bare = _started(folder / "none", backend.url)
        rows = [_row("no answers: ready", bare.ready_s, None, "", bare)]
        starts = {}
        with redis_server(folder) as url:
            for name, flags in (("file", ()), ("redis", ("--redis", url))):
                _primed(folder / name, backend.url, *flags)
                for snapshot in (folder / name / "index").glob("*"):
                    snapshot.unlink()
            for when in ("first start", "restart"):
                for name, flags in (("file", ()), ("redis", ("--redis", url))):
                    starts[name, when] = _started(folder / name, backend.url, *flags)
    for when in ("first start", "restart"):
        here, file = starts["redis", when], starts["file", when]
        rows += [
            _row(f"{num:,} in redis, {when}: serving", here.serving_s, file.serving_s, "the same in a file", here),
            _row(f"{num:,} in redis, {when}: ready", here.ready_s, file.ready_s, "the same in a file", here),
            Row("restart", f"{num:,} in redis, {when}: processor", here.cpu_s, "s", file.cpu_s, "in a file"),
            Row("restart", f"{num:,} in redis, {when}: memory", here.memory_mb, "MB", file.memory_mb, "in a file"),
        ]
    return rows


def _row(what: str, value: float, beside: float | None, beside_what: str, start: Start) -> Row:
    note = f"{start.vectors:,} vectors, {start.network_mb:,.0f} MB read, {start.cpu_s:.1f} s of the processor"
    return Row("restart", what, value, "s", beside, beside_what, note if "ready" in what else "")


# -- a start -----------------------------------------------------------------------------------------------------------


def _started(data_dir: Path, backend_url: str, *flags: str) -> Start:
    (data_dir / "secret").write_bytes(SECRET)
    command = ["-m", "gateway", "serve", "--port", "0", "--data-dir", str(data_dir), "--upstream", backend_url]
    began_s, read = time.perf_counter(), _network_bytes()
    with (
        listening([*command, *flags]) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        listening_s = time.perf_counter() - began_s
        has_entries = data_dir.name != "none"
        while has_entries and not _is_served(client):
            assert time.perf_counter() - began_s < PATIENCE_S, "what is stored is not served"
            time.sleep(0.01)
        serving_s = time.perf_counter() - began_s
        while client.get("/readyz").json()["parts"]["semantic"] != "ready":
            time.sleep(0.02)
        ready_s = time.perf_counter() - began_s
        cpu_s = server.cpu_s()
        memory_mb = psutil.Process(server.pid).memory_info().rss / 1e6
        stats = client.get("/admin/api/stats").json()
    read = _network_bytes() - read
    return Start(listening_s, serving_s, ready_s, cpu_s, memory_mb, stats["vectors"], read / 1e6)


def _primed(data_dir: Path, backend_url: str, *flags: str) -> None:
    """Have the question answered by this upstream: the address of another time's is part of its key."""
    command = ["-m", "gateway", "serve", "--port", "0", "--data-dir", str(data_dir), "--upstream", backend_url]
    with (
        listening([*command, *flags]) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        client.post(CHAT, content=_body(QUESTION))


def _is_served(client: httpx.Client) -> bool:
    try:
        answer = client.post(CHAT, content=_body(QUESTION), headers={"cache-control": "only-if-cached"})
    except httpx.TransportError:
        return False
    return bool(answer.headers.get("x-twicetold-tier") == "exact")


def _body(question: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": question}]}).encode()


def _network_bytes() -> int:
    """Bytes that came over the loopback interface so far."""
    return sum(psutil.net_io_counters(pernic=True)[name].bytes_recv for name in ("lo",))


# -- what is there -----------------------------------------------------------------------------------------------------


def _fill(folder: Path, backend_url: str, num: int) -> None:
    for name in ("redis", "file"):
        (folder / name).mkdir()
        (folder / name / "secret").write_bytes(SECRET)
    with redis_server(folder, keeps=True) as url:
        command = ["-m", "gateway", "serve", "--port", "0", "--data-dir", str(folder / "redis"), "--redis", url]
        with (
            listening([*command, "--upstream", backend_url]) as server,
            httpx.Client(trust_env=False, timeout=60) as client,
        ):
            while client.get(f"{server.url}/readyz").json()["parts"]["semantic"] != "ready":
                time.sleep(0.1)
            client.post(server.url + CHAT, content=_body(QUESTION))
            while client.get(f"{server.url}/admin/api/stats").json()["vectors"] == 0:
                time.sleep(0.1)
        asyncio.run(_put(folder, url, num))
    assert (folder / DUMP).exists()


async def _put(folder: Path, url: str, num: int) -> None:
    link = Link(url, SECRET, timeout_s=30.0)
    shared = RedisAnswers(link, replica=b"bench", budget_bytes=BUDGET_BYTES, queue_bytes=BUDGET_BYTES)
    file = SqliteAnswers(folder / "file" / "answers.db", budget_bytes=BUDGET_BYTES, secret=SECRET)
    await shared.open()
    await file.open()
    (row,) = await shared.select(Selection(), Page())
    first = await shared.owned(row.tenant, row.id)
    assert first is not None
    await file.put(first)
    for some in _together(_entries(first, num)):
        await asyncio.gather(*(store.put(entry) for store in (shared, file) for entry in some))
        while shared.report()["waiting"]:  # noqa: ASYNC110 - a machine that was held up for long lost its patience
            await asyncio.sleep(0.1)
    assert await _size(shared) == await _size(file) == num
    await file.close()
    await shared.close()
    await link.close()


async def _size(store: Store) -> int:
    return await store.size()


def _entries(first: Entry, num: int) -> Iterator[Entry]:
    """Entries like the first, each with a question and a vector of its own."""
    draws = np.random.default_rng(1)
    for number in range(1, num):
        exact = blake2b(b"%d" % number, digest_size=32).digest()
        partition = 0 if number < num // 2 else number // SMALL
        vector = draws.standard_normal(len(first.vector or b"") // 4, np.float32)
        yield replace(
            first,
            id=entry_id_of(SECRET, exact),
            exact=exact,
            compat=first.compat if not partition else blake2b(b"part %d" % partition, digest_size=32).digest(),
            question=f"How do I reset the password of my account number {number} at home?",
            created_s=first.created_s + number * 1e-3,
            vector=(vector / np.linalg.norm(vector)).astype("<f4").tobytes(),
        )


def _together(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    for entry in entries:
        some.append(entry)
        if len(some) == TOGETHER:
            yield some
            some = []
    yield some


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description="Starts with many stored answers.")
    parser.add_argument("--folder", type=Path, required=True, help="where answers lie; filled if it is empty")
    parser.add_argument("--entries", type=int, default=ENTRIES)
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    show(Console(width=150), measure(options.folder, options.entries))


if __name__ == "__main__":
    main()
