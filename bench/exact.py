"""Exact hits: latency of one caller, and requests per second of many, beside what uvicorn alone can do.

The server is held on one core, the load generator on another. The reference is a bare ASGI application under the same
uvicorn that returns the very bytes of a hit; blocks of the two alternate.

These requests are known by their bytes, and take the express road from the second time on. Hits in new bytes are the
same questions from another user each: no body comes twice, so none takes that road, and the gateway's own count of it
is asserted. Their processor time is asked of a gateway without that road, too.
"""

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from bench import ceiling
from bench.http1 import Connection, Timed
from bench.load import Job, measure
from bench.processes import Server, gateway, listening, two_cpus, upstream
from bench.rows import Row, Scale
from bench.wrk import Pressure, Target, press, together

DISTINCT = 64
BODY_BYTES = 1024
MODEL = "test-model"
CHAT = "/v1/chat/completions"
BARE = "bare uvicorn, the same bytes"
NEW_A_SECOND = 15_000  # new bodies made for a block: more than a gateway answers
_EXPRESS = re.compile(r"^twicetold_express_hits_total (\S+)", re.MULTILINE)


def run(scale: Scale) -> list[Row]:
    """Latency of one caller and of many, and requests per second, whole and streamed."""
    server_cpu, driver_cpu = two_cpus()
    rows: list[Row] = []
    with upstream(cpu=driver_cpu) as backend, gateway("--upstream", backend.url, cpu=server_cpu) as server:
        for is_streaming in (False, True):
            bodies = tuple(_body(index, is_streaming) for index in range(DISTINCT))
            measure([Job("fill", server.url, bodies, DISTINCT)], cpu=driver_cpu)
            with _bare(server.url, bodies[0], server_cpu) as bare:
                for concurrency in (1, 64) if is_streaming else (1, 16, 64):
                    hits, reference = _alternate(server.url, bare.url, bodies, concurrency, scale, driver_cpu)
                    rows += _rows(hits, reference, concurrency, is_streaming)
                rows.append(_cpu(server, bare, bodies, is_streaming, scale, driver_cpu))
                if not is_streaming:
                    rows += _in_new_bytes(server.url, bare.url, bodies, scale, driver_cpu)
    return [*rows, *_whole_road(server_cpu, driver_cpu, scale)]


def _whole_road(server_cpu: int | None, driver_cpu: int | None, scale: Scale) -> list[Row]:
    """Processor time of a hit whose bytes nobody knows."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        (folder / "twicetold.toml").write_text("[cache]\nexpress_mb = 0\nsemantic = false\n", "utf-8")
        backend = stack.enter_context(upstream(cpu=driver_cpu))
        flags = ("--upstream", backend.url, "--config", str(folder / "twicetold.toml"))
        server = stack.enter_context(gateway(*flags, cpu=server_cpu, wait_semantic=False))
        rows = []
        for is_streaming in (False, True):
            bodies = tuple(_body(index, is_streaming) for index in range(DISTINCT))
            measure([Job("fill", server.url, bodies, DISTINCT)], cpu=driver_cpu)
            with _bare(server.url, bodies[0], server_cpu) as bare:
                row = _cpu(server, bare, bodies, is_streaming, scale, driver_cpu)
                rows.append(replace(row, what=f"{row.what}, unknown bytes"))
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
) -> tuple[Pressure, Pressure]:
    """Blocks of hits and of the bare server in turn; what is asked was an exact hit before, and is one after."""
    targets = {"hit": Target(url, bodies), "bare": Target(bare, bodies)}
    found = press(targets, concurrency=concurrency, seconds=scale.of(2, 1), turns=scale.of(3, 1), cpu=cpu)
    (after,) = measure([Job("after", url, bodies, len(bodies))], cpu=cpu)
    assert set(after.tiers) == {"exact"}, f"not only exact hits: {after.tiers}"
    return found["hit"], found["bare"]


def _in_new_bytes(url: str, bare: str, bodies: tuple[str, ...], scale: Scale, cpu: int | None) -> list[Row]:
    """Hits whose bytes never came before: latency of one caller, and requests per second of many."""
    rows, seconds, turns = list[Row](), scale.of(2, 1), scale.of(3, 1)
    before = _express_hits(url)
    # our own generator, where there is no wrk, gives several callers the same bodies
    for concurrency in (1, 16) if shutil.which("wrk") else (1,):
        blocks: dict[str, list[Pressure]] = {"hit": [], "bare": []}
        for turn in range(turns):
            new = _in_new(bodies, f"{concurrency}-{turn}", seconds * NEW_A_SECOND)
            targets = {"hit": Target(url, new), "bare": Target(bare, new)}
            found = press(targets, concurrency=concurrency, seconds=seconds, turns=1, cpu=cpu)
            assert found["hit"].count <= len(new), (
                f"{found['hit'].count} requests of {len(new)} bodies: some came twice"
            )
            for name, block in found.items():
                blocks[name].append(block)
        rows += _rows_of_new(together(blocks["hit"]), together(blocks["bare"]), concurrency)
    (after,) = measure([Job("after", url, _in_new(bodies, "after", DISTINCT), DISTINCT)], cpu=cpu)
    assert set(after.tiers) == {"exact"}, f"not only exact hits: {after.tiers}"
    assert _express_hits(url) == before, "some were known by their bytes"
    return rows


def _in_new(bodies: tuple[str, ...], name: str, num: int) -> tuple[str, ...]:
    """The same questions, each time of another user."""
    return tuple(f'{bodies[each % len(bodies)][:-1]}, "user": "{name}-{each}"}}' for each in range(num))


def _express_hits(url: str) -> float:
    found = _EXPRESS.search(httpx.get(f"{url}/metrics", timeout=30.0, trust_env=False).text)
    assert found is not None, "the gateway does not count what it answers by its bytes"
    return float(found[1])


def _rows_of_new(hits: Pressure, bare: Pressure, concurrency: int) -> list[Row]:
    if concurrency == 1:
        note = f"another user each, {hits.count:,} bodies; p99 {hits.p99_ms:.3f} ms"
        return [Row("exact", "hit in new bytes, p50, 1 caller", hits.p50_ms, "ms", bare.p50_ms, BARE, note)]
    note = f"another user each, {hits.count:,} bodies; p50 {hits.p50_ms:.3f} ms; asked by {hits.by}"
    what = f"hits in new bytes, {concurrency} callers"
    return [Row("exact", what, hits.per_second, "req/s", bare.per_second, BARE, note)]


def _cpu(
    server: Server, bare: Server, bodies: tuple[str, ...], is_streaming: bool, scale: Scale, cpu: int | None
) -> Row:
    """Processor time per request: what is left of the difference when neighbours are noisy."""
    spent = []
    for one in (server, bare):
        before = one.cpu_s()
        found = press({"": Target(one.url, bodies)}, concurrency=4, seconds=scale.of(3, 1), turns=1, cpu=cpu)
        spent.append((one.cpu_s() - before) * 1000 / found[""].count)
    kind = "streamed hit" if is_streaming else "hit"
    return Row("exact", f"{kind}, processor time", spent[0], "ms", spent[1], BARE)


def _rows(hits: Pressure, bare: Pressure, concurrency: int, is_streaming: bool) -> list[Row]:
    kind = "streamed hit" if is_streaming else "hit"
    callers = f"{concurrency} caller{'s' if concurrency > 1 else ''}"
    rate = Row("exact", f"{kind}s, {callers}", hits.per_second, "req/s", bare.per_second, BARE, f"asked by {hits.by}")
    tail = Row(
        "exact", f"{kind}, p99, {callers}", hits.p99_ms, "ms", hits.p50_ms, "its own p50",
        f"{BARE}: p50 {bare.p50_ms:.3f} ms, p99 {bare.p99_ms:.3f} ms",
    )  # fmt: skip
    if concurrency > 1:
        return [rate, tail]
    return [Row("exact", f"{kind}, p50, {callers}", hits.p50_ms, "ms", bare.p50_ms, BARE), rate, tail]
