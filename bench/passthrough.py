"""Pass-through: the same requests straight to an upstream that answers at once, and through the gateway.

The upstream is bare sockets and prepared bytes (`bench/instant.py`), so what is measured is the gateway. Blocks
alternate direct, gateway, direct, gateway. Requests switch all tiers off; the first text of a stream is timed on both
sides, of an upstream that sends it in a write of its own. The gateway has one core; upstream and load generator share
the other.

A miss as by default is what most people's requests are: looked up, embedded, searched for, passed through and kept.
Its questions are distinct, and each is asked directly and of the gateway in turn; what another caller's hit would be is
no miss and is left out.
"""

import asyncio
import json
from collections.abc import Sequence

from bench.figures import median
from bench.http1 import Connection, Timed
from bench.instant import IN_PIECES
from bench.load import Job, Measured, measure, merged
from bench.processes import Server, gateway, listening, two_cpus
from bench.questions import questions
from bench.rows import Row, Scale
from bench.turns import held_on
from bench.wrk import PATH, Target, press

MODEL = "test-model"
BODY_CHARS = 900
WARM_UP = 5
DIRECT = "direct"


def run(scale: Scale) -> list[Row]:
    """Latency of one caller and requests per second of many, streamed and not; the first byte of a stream."""
    server_cpu, driver_cpu = two_cpus()
    rows: list[Row] = []
    with listening(["-m", "bench.instant"], cpu=driver_cpu) as backend, \
            gateway("--upstream", backend.url, cpu=server_cpu) as server:  # fmt: skip
        for is_streaming in (False, True):
            rows += _pressed(server, backend.url, is_streaming, scale, driver_cpu)
            rows += _watched(server.url, backend.url, is_streaming, scale, driver_cpu)
        num = scale.of(300, 40)
        asked = questions(2 * num)
        for is_streaming, some in ((False, asked[:num]), (True, asked[num:])):
            with held_on(driver_cpu):
                rows += asyncio.run(_missed(server, backend.url, is_streaming, some))
    return rows


def _pressed(server: Server, direct: str, is_streaming: bool, scale: Scale, cpu: int | None) -> list[Row]:
    """Requests per second, and what each costs."""
    kind, (plain, through), rows = _kind(is_streaming), _bodies(is_streaming), list[Row]()
    targets = {"direct": Target(direct, (plain,)), "gateway": Target(server.url, (through,))}
    for concurrency in (16, 64):
        before = server.cpu_s()
        found = press(targets, concurrency=concurrency, seconds=scale.of(2, 1), turns=scale.of(3, 1), cpu=cpu)
        straight, passed = found["direct"], found["gateway"]
        cost_ms = (server.cpu_s() - before) * 1000 / passed.count
        name = f"{kind}, {concurrency} callers"
        note = f"p50 {passed.p50_ms:.2f} ms, p99 {passed.p99_ms:.2f} ms; asked by {passed.by}"
        rows.append(Row("passthrough", f"{name}, rate", passed.per_second, "req/s", straight.per_second, DIRECT, note))
        rows.append(Row("passthrough", f"{name}, processor time", cost_ms, "ms", note="of the gateway, each request"))
    return rows


def _watched(url: str, direct: str, is_streaming: bool, scale: Scale, cpu: int | None) -> list[Row]:
    """What one caller waits, to the first text and to the end."""
    kind = _kind(is_streaming)
    straight, passed = _alternated(url, direct, _bodies(is_streaming), scale, cpu)
    rows = [_added(f"{kind}, 1 caller, p50", passed.total_ms, straight.total_ms)]
    if is_streaming:
        straight, passed = _alternated(url, direct, _bodies(is_streaming, IN_PIECES), scale, cpu)
        rows.append(_added(f"{kind}, 1 caller, first text, p50", passed.first_ms, straight.first_ms))
    return rows


def _alternated(
    url: str, direct: str, bodies: tuple[str, str], scale: Scale, cpu: int | None
) -> tuple[Measured, Measured]:
    """Straight, and through the gateway, in turns."""
    (plain, through), count = bodies, scale.of(300, 100)
    pair = [Job("direct", direct, (plain,), count), Job("gateway", url, (through,), count)]
    found = measure(pair * scale.of(5, 2), cpu=cpu)
    straight, passed = merged(found[0::2]), merged(found[1::2])
    assert set(passed.tiers) == {"full"}, f"not only pass-through: {passed.tiers}"
    assert set(straight.tiers) == {""}, f"direct requests met a gateway: {straight.tiers}"
    return straight, passed


async def _missed(server: Server, direct: str, is_streaming: bool, asked: Sequence[str]) -> list[Row]:
    """What a miss adds where nothing is switched off, for one caller who asks one question after another."""
    straight, passed, before_s = list[Timed](), list[Timed](), server.cpu_s()
    async with Connection(direct, PATH) as plain, Connection(server.url, PATH) as through:
        for number, question in enumerate(asked):
            body = _asking(question, is_streaming, IN_PIECES if is_streaming else MODEL).encode()
            beside, answer = await plain.post(body), await through.post(body)
            assert beside.status == answer.status == 200, answer.body
            if number >= WARM_UP and answer.headers["x-twicetold-tier"] == "full":
                straight.append(beside)
                passed.append(answer)
    what, note = f"{_kind(is_streaming)}, a miss as by default", f"{len(passed)} misses of {len(asked) - WARM_UP}"
    rows = [
        _added(f"{what}, p50", [one.total_s * 1e3 for one in passed], [one.total_s * 1e3 for one in straight], note)
    ]
    if is_streaming:
        first, beside_first = ([one.first_s * 1e3 for one in some] for some in (passed, straight))
        rows.append(_added(f"{what}, first text, p50", first, beside_first))
    cost_ms = (server.cpu_s() - before_s) * 1000 / len(asked)  # with what is written behind the answers
    return [*rows, Row("passthrough", f"{what}, processor time", cost_ms, "ms", note="of the gateway, each request")]


def _added(what: str, passed: list[float], straight: list[float], note: str = "") -> Row:
    here, there = median(passed), median(straight)
    said = "; ".join(filter(None, [f"adds {here - there:.2f} ms", note]))
    return Row("passthrough", what, here, "ms", there, DIRECT, said)


def _kind(is_streaming: bool) -> str:
    return "streamed" if is_streaming else "whole"


def _bodies(is_streaming: bool, model: str = MODEL) -> tuple[str, str]:
    """Straight, and through the gateway with all tiers off."""
    body = _asking("x" * BODY_CHARS, is_streaming, model)
    return body, json.dumps({**json.loads(body), "cache": {"tiers": []}})


def _asking(question: str, is_streaming: bool, model: str) -> str:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": question}], "stream": is_streaming})
