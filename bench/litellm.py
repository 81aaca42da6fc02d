"""Beside LiteLLM's proxy with its in-memory cache: hits and requests passed through, in turns, each on the same core.

Both serve one process, the same bodies and the same upstream. A LiteLLM hit is one that names its cache key.
"""

import asyncio
import json

import psutil

from bench.engine.serving import NotAvailable
from bench.http1 import Connection
from bench.peers.litellm_proxy import litellm_proxy
from bench.processes import Server, gateway, two_cpus, upstream
from bench.rows import Row, Scale
from bench.wrk import PATH, Pressure, Target, press

MODEL = "test-model"
DISTINCT = 16
BODY_BYTES = 1024
NAME = "LiteLLM's proxy"


def run(scale: Scale) -> list[Row]:
    """One caller's latency, the rate of 16, and memory; a row that says so where LiteLLM is not there."""
    server_cpu, driver_cpu = two_cpus()
    with upstream("fast", cpu=driver_cpu) as backend:
        try:
            with (
                litellm_proxy(backend.url, MODEL, is_caching=True, cpu=server_cpu) as theirs,
                gateway("--upstream", backend.url, cpu=server_cpu) as ours,
            ):
                return _measure(ours, theirs, scale, driver_cpu)
        except NotAvailable as why:
            return [Row("litellm", "hit, pass-through", None, "", None, NAME, f"not available: {why}")]


def _measure(ours: Server, theirs: Server, scale: Scale, cpu: int | None) -> list[Row]:
    memory = [psutil.Process(one.pid).memory_info().rss / 1e6 for one in (ours, theirs)]
    hits = tuple(_body(number) for number in range(DISTINCT))
    for server, header in ((ours, "x-twicetold-tier"), (theirs, "x-litellm-cache-key")):
        asyncio.run(_fill(server.url, hits, header))
    rows = [
        *_beside("hit", Target(ours.url, hits), Target(theirs.url, hits), scale, cpu),
        *_beside(
            "pass-through",
            Target(ours.url, (_body(0, {"tiers": []}),)),
            Target(theirs.url, (_body(0, {"no-cache": True, "no-store": True}),)),
            scale,
            cpu,
        ),
    ]
    for server, header in ((ours, "x-twicetold-tier"), (theirs, "x-litellm-cache-key")):
        asyncio.run(_fill(server.url, hits, header))
    return [*rows, Row("litellm", "resident memory, ready, nothing kept", memory[0], "MB", memory[1], NAME)]


def _beside(what: str, ours: Target, theirs: Target, scale: Scale, cpu: int | None) -> list[Row]:
    rows = []
    for concurrency in (1, 16):
        found = press(
            {"ours": ours, "theirs": theirs},
            concurrency=concurrency, seconds=scale.of(3, 1), turns=scale.of(3, 1), cpu=cpu,
        )  # fmt: skip
        rows += _rows(what, concurrency, found["ours"], found["theirs"])
    return rows


def _rows(what: str, concurrency: int, ours: Pressure, theirs: Pressure) -> list[Row]:
    callers = f"{concurrency} caller{'s' if concurrency > 1 else ''}"
    note = f"{theirs.count} of theirs; asked by {ours.by}"
    if concurrency == 1:
        return [Row("litellm", f"{what}, p50, {callers}", ours.p50_ms, "ms", theirs.p50_ms, NAME, note)]
    return [Row("litellm", f"{what}s, {callers}", ours.per_second, "req/s", theirs.per_second, NAME, note)]


async def _fill(url: str, bodies: tuple[str, ...], header: str) -> None:
    """Have every body answered twice; the second answer is from the cache, by the header that tells."""
    async with Connection(url, PATH) as connection:
        for body in bodies:
            await connection.post(body.encode())
        for body in bodies:
            told = (await connection.post(body.encode())).headers.get(header, "")
            assert told not in ("", "full"), f"{url}: no hit: {header} is {told!r}"


def _body(number: int, cache: dict[str, object] | None = None) -> str:
    """A chat request of `BODY_BYTES` bytes."""
    message = {"role": "user", "content": f"Question number {number}: "}
    body = {"model": MODEL, "messages": [message], **({} if cache is None else {"cache": cache})}
    message["content"] += "x" * (BODY_BYTES - len(json.dumps(body)))
    return json.dumps(body)
