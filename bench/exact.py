"""Exact hits: latency of one caller, and requests per second of many, beside what uvicorn alone can do.

The server is held on one core, the load generator on another. The reference is a bare ASGI application under the same
uvicorn that returns the very bytes of a hit; blocks of the two alternate.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import ceiling
from bench.figures import median, percentile
from bench.http1 import Connection, Timed
from bench.load import Job, Measured, measure, merged
from bench.processes import Server, gateway, listening, two_cpus, upstream
from bench.rows import Row, Scale

DISTINCT = 64
BODY_BYTES = 1024
MODEL = "test-model"
CHAT = "/v1/chat/completions"


def run(scale: Scale) -> list[Row]:
    """Latency at concurrency 1, whole and streamed, and throughput at 16 and 64."""
    server_cpu, driver_cpu = two_cpus()
    rows: list[Row] = []
    with upstream(cpu=driver_cpu) as backend, gateway("--upstream", backend.url, cpu=server_cpu) as server:
        for is_streaming in (False, True):
            bodies = tuple(_body(index, is_streaming) for index in range(DISTINCT))
            measure([Job("fill", server.url, bodies, DISTINCT)], cpu=driver_cpu)
            with _bare(server.url, bodies[0], server_cpu) as bare:
                for concurrency in (1,) if is_streaming else (1, 16, 64):
                    hits, reference = _alternate(server.url, bare.url, bodies, concurrency, scale, driver_cpu)
                    rows += _rows(hits, reference, concurrency, is_streaming)
                rows.append(_cpu(server, bare, bodies, is_streaming, scale, driver_cpu))
    return rows


def _body(index: int, is_streaming: bool) -> str:
    """A chat request of exactly `BODY_BYTES` bytes."""
    message = {"role": "user", "content": f"Question number {index}: "}
    body = {"model": MODEL, "messages": [message], "stream": is_streaming}
    message["content"] += "x" * (BODY_BYTES - len(json.dumps(body)))
    return json.dumps(body)


@contextmanager
def _bare(url: str, body: str, cpu: int | None) -> Iterator[Server]:
    """The bare server, returning what the gateway returns to `body` on a hit; as a server."""
    hit = asyncio.run(_one(url, body))
    assert hit.headers["x-twicetold-tier"] == "exact", hit.headers
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        path = Path(folder) / "response.json"
        ceiling.save(path, hit.headers, hit.body)
        with listening(["-m", "bench.ceiling", str(path)], cpu=cpu) as server:
            yield server


async def _one(url: str, body: str) -> Timed:
    async with Connection(url, CHAT) as connection:
        return await connection.post(body.encode())


def _alternate(
    url: str, bare: str, bodies: tuple[str, ...], concurrency: int, scale: Scale, cpu: int | None
) -> tuple[Measured, Measured]:
    """Blocks of hits and of the bare server in turn; each kind merged."""
    count = scale.of(2000, 300)
    pair = [Job("hit", url, bodies, count, concurrency), Job("bare", bare, bodies, count, concurrency)]
    found = measure(pair * scale.of(5, 2), cpu=cpu)
    hits = merged(found[0::2])
    assert set(hits.tiers) == {"exact"}, f"not only exact hits: {hits.tiers}"
    return hits, merged(found[1::2])


def _cpu(
    server: Server, bare: Server, bodies: tuple[str, ...], is_streaming: bool, scale: Scale, cpu: int | None
) -> Row:
    """Processor time per request: what is left of the difference when neighbours are noisy."""
    count = scale.of(4000, 500)
    spent = []
    for one in (server, bare):
        before = one.cpu_s()
        measure([Job("cpu", one.url, bodies, count, 4)], cpu=cpu)
        spent.append((one.cpu_s() - before) * 1000 / count)
    kind = "streamed hit" if is_streaming else "hit"
    return Row("exact", f"{kind}, processor time", spent[0], "ms", spent[1], "bare uvicorn, the same bytes")


def _rows(hits: Measured, bare: Measured, concurrency: int, is_streaming: bool) -> list[Row]:
    kind = "streamed hit" if is_streaming else "hit"
    reference = "bare uvicorn, the same bytes"
    if concurrency == 1:
        return [
            Row("exact", f"{kind}, p50, 1 caller", median(hits.total_ms), "ms", median(bare.total_ms), reference),
            Row(
                "exact", f"{kind}, p99, 1 caller", percentile(hits.total_ms, 99), "ms",
                percentile(bare.total_ms, 99), reference,
            ),
        ]  # fmt: skip
    what = f"{kind}s, {concurrency} callers"
    note = f"p50 {median(hits.total_ms):.1f} ms, p99 {percentile(hits.total_ms, 99):.1f} ms"
    return [Row("exact", what, hits.per_second, "req/s", bare.per_second, reference, note)]
