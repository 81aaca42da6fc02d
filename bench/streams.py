"""A thousand clients that stream at the same time from one gateway: half of them hits, half answers as they are made.

Each of the hit's clients asks about once a second, each of the others has a slow stream open all the time. The clients
are a process of their own on the other core, with the upstream. Memory is the gateway's resident size at its peak over
what it was before the first of them came, after a few requests of each kind: what it holds for a connection, its
upstream's connection, its buffers and what the answers made meanwhile leave behind.

`python -m bench.streams` is that process: jobs as JSON on standard input, what was seen as JSON on standard output.
"""

import asyncio
import json
import random
import resource
import select
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import uvloop

from bench.figures import percentile
from bench.http1 import Connection
from bench.processes import ROOT, Server, gateway, pin, two_cpus, upstream
from bench.rows import Row, Scale
from bench.wrk import PATH

DISTINCT = 64
FAST, SLOW = "test-model", "slow:0.5"  # seconds between the tokens of a stream
BETWEEN_S = 1.0
OPENED_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients of one phase saw, and how large the gateway became."""

    hits_ms: list[float]  # to the first text
    misses_ms: list[float]
    asked: int
    failed: list[str]
    peak_bytes: int


def run(scale: Scale) -> list[Row]:
    """The clients of hits alone, then all of them."""
    server_cpu, driver_cpu = two_cpus()
    each = scale.of(500, 50)
    _allow_files(8 * each)
    with upstream(cpu=driver_cpu) as backend, gateway("--upstream", backend.url, cpu=server_cpu) as server:
        process = psutil.Process(server.pid)
        _phase(server, process, 8, 8, 3.0, driver_cpu)
        before = process.memory_info().rss
        alone = _phase(server, process, each, 0, scale.of(6, 2), driver_cpu)
        began, spent = time.perf_counter(), server.cpu_s()
        seen = _phase(server, process, each, each, scale.of(25, 5), driver_cpu)
        busy = (server.cpu_s() - spent) / (time.perf_counter() - began)
    failed = alone.failed + seen.failed
    note = f"{each} clients of hits, {each} open streams; {seen.asked:,} requests, {busy:.0%} of a core"
    reference = "the same clients of hits alone"
    grown = (max(alone.peak_bytes, seen.peak_bytes) - before) / (2 * each) / 1e3
    return [
        Row("streams", "failed requests", len(failed), "", note="; ".join([note, *failed[:3]])),
        *(
            Row("streams", f"first byte of a hit, p{share}", percentile(seen.hits_ms, share), "ms",
                percentile(alone.hits_ms, share), reference)
            for share in (50, 99)
        ),
        Row("streams", "first text of a stream passed on, p99", percentile(seen.misses_ms, 99), "ms",
            note=f"the upstream waits {SLOW.partition(':')[2]} s before it"),
        Row("streams", "memory of a connection", grown, "KB",
            note=f"resident {before / 1e6:.0f} MB before, {seen.peak_bytes / 1e6:.0f} at the peak"),
    ]  # fmt: skip


def _allow_files(count: int) -> None:
    """Sockets are files, and what is started from here inherits the bound."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard > 0 else count, hard))


def _phase(server: Server, process: psutil.Process, hits: int, misses: int, seconds: float, cpu: int | None) -> Seen:
    job = {"url": server.url, "hits": hits, "misses": misses, "seconds": seconds}
    peak = process.memory_info().rss
    with subprocess.Popen(
        [sys.executable, "-m", "bench.streams"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        pin(child.pid, cpu)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(job).encode())
        child.stdin.close()
        child.stdin = None
        deadline = time.monotonic() + seconds + 120
        while child.poll() is None and time.monotonic() < deadline and not _has_spoken(child):
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.1)
        said = child.stdout.read()
        child.wait(20)
    if child.returncode:
        raise RuntimeError(f"the streaming clients ended with {child.returncode}")
    return Seen(**json.loads(said), peak_bytes=peak)


def _has_spoken(child: "subprocess.Popen[bytes]") -> bool:
    return child.stdout is not None and bool(select.select([child.stdout], [], [], 0)[0])


# -- the clients -------------------------------------------------------------------------------------------------------


async def _clients(url: str, hits: int, misses: int, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"hits_ms": [], "misses_ms": [], "asked": 0, "failed": []}
    chance = random.Random(8)
    async with AsyncExitStack() as stack:
        await _fill(url)
        lines: list[Connection] = []
        for start in range(0, hits + misses, OPENED_AT_ONCE):
            some = [Connection(url, PATH) for _ in range(min(OPENED_AT_ONCE, hits + misses - start))]
            lines += await asyncio.gather(*(stack.enter_async_context(one) for one in some))
        ends = time.monotonic() + seconds

        async def hit(line: Connection, number: int) -> None:
            while time.monotonic() < ends:
                await _ask(line, _body(f"Question number {number % DISTINCT}", FAST), "exact", "hits_ms", found)
                await asyncio.sleep(BETWEEN_S * chance.uniform(0.5, 1.5))

        async def miss(line: Connection, number: int) -> None:
            turn = 0
            while time.monotonic() < ends:
                words = f"Tell client {number} for the {turn}. time, at {time.time_ns()}, of the sea"
                await _ask(line, _body(words, SLOW), "full", "misses_ms", found)
                turn += 1

        async with asyncio.TaskGroup() as tasks:
            for number, line in enumerate(lines):
                tasks.create_task((hit if number < hits else miss)(line, number))
    return found


async def _fill(url: str) -> None:
    async with Connection(url, PATH) as line:
        for number in range(DISTINCT):
            await line.post(_body(f"Question number {number}", FAST))


async def _ask(line: Connection, body: bytes, tier: str, kind: str, found: dict[str, Any]) -> None:
    found["asked"] += 1
    try:
        timed = await line.post(body)
    except (OSError, EOFError) as error:
        found["failed"].append(f"{kind}: {type(error).__name__}")
        raise
    told = timed.headers.get("x-twicetold-tier", "")
    if timed.status != 200 or b"data: [DONE]" not in timed.body or told != tier:
        found["failed"].append(f"{kind}: {timed.status}, {told}, {timed.body[-80:]!r}")
    else:
        found[kind].append(timed.first_s * 1000)


def _body(words: str, model: str) -> bytes:
    message = {"role": "user", "content": f"{words}."}
    body = {"model": model, "messages": [message], "stream": True}
    # what is slow is asked for by exact words only: streams are measured here, and no embedder
    return json.dumps({**body, "cache": {"tiers": ["exact"]}} if model == SLOW else body).encode()


if __name__ == "__main__":
    job = json.load(sys.stdin)
    _allow_files(8 * (job["hits"] + job["misses"]))
    json.dump(uvloop.run(_clients(**job)), sys.stdout)
