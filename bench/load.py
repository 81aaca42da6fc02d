"""The load generator, in a process of its own so that it can be held on another core: `measure(jobs)`.

The child (`python -m bench.load`) reads the jobs as JSON from its standard input, runs them one after another in the
given order, and writes what it saw as JSON. A job keeps `concurrency` connections busy until `count` requests are
done; each connection goes through the bodies in turn, starting at its own place.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from typing import Any

import uvloop

from bench.http1 import Connection, Timed
from bench.processes import ROOT, pin
from bench.slices import short_slices


@dataclass(frozen=True, slots=True)
class Job:
    """One block of load on one address."""

    name: str
    url: str  # of the server, without a path
    bodies: tuple[str, ...]
    count: int
    concurrency: int = 1
    path: str = "/v1/chat/completions"
    pause_s: float = 0.0  # of a connection between two requests


@dataclass(frozen=True, slots=True)
class Measured:
    """What one job saw."""

    name: str
    seconds: float  # from the first request to the last response
    total_ms: list[float]
    first_ms: list[float]  # to the first text
    tiers: dict[str, int] = field(default_factory=dict)  # x-twicetold-tier, empty where there is none
    statuses: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.total_ms)

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def measure(jobs: Sequence[Job], *, cpu: int | None, within_s: float = 300.0) -> list[Measured]:
    """Run `jobs` in order in a child process on `cpu`. Every response was a 200 and there is one per request."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        pin(child.pid, cpu)
        try:
            answer, _ = child.communicate(json.dumps([asdict(job) for job in jobs]).encode(), timeout=within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    if child.returncode:
        raise RuntimeError(f"the load generator ended with {child.returncode}")
    found = [Measured(**row) for row in json.loads(answer)]
    for job, measured in zip(jobs, found, strict=True):
        assert measured.statuses == {"200": job.count}, f"{job.name}: {measured.statuses} of {job.count}"
    return found


def merged(blocks: Sequence[Measured]) -> Measured:
    """Several blocks of one kind as one; their seconds add up."""
    tiers: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for block in blocks:
        tiers.update(block.tiers)
        statuses.update(block.statuses)
    return Measured(
        blocks[0].name,
        sum(block.seconds for block in blocks),
        [value for block in blocks for value in block.total_ms],
        [value for block in blocks for value in block.first_ms],
        dict(tiers),
        dict(statuses),
    )


async def run(job: Job) -> Measured:
    """One job, here and now."""
    bodies = [body.encode() for body in job.bodies]
    left = iter(range(job.count))
    seen: list[Timed] = []
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(Connection(job.url, job.path)) for _ in range(job.concurrency)]

        async def work(connection: Connection, start: int) -> None:
            own = islice(cycle(bodies), start % len(bodies), None)
            for _ in left:
                seen.append(await connection.post(next(own)))
                if job.pause_s:
                    await asyncio.sleep(job.pause_s)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as workers:
            for index, connection in enumerate(connections):
                workers.create_task(work(connection, index))
        seconds = time.perf_counter() - started
    return Measured(
        job.name,
        seconds,
        [one.total_s * 1000 for one in seen],
        [one.first_s * 1000 for one in seen],
        dict(Counter(one.headers.get("x-twicetold-tier", "") for one in seen)),
        dict(Counter(str(one.status) for one in seen)),
    )


async def _run_all(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [asdict(await run(Job(**{**row, "bodies": tuple(row["bodies"])}))) for row in rows]


if __name__ == "__main__":
    short_slices()
    json.dump(uvloop.run(_run_all(json.load(sys.stdin))), sys.stdout)
