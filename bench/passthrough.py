"""Pass-through: the same requests straight to an upstream that answers at once, and through the gateway.

The upstream is bare sockets and prepared bytes (`bench/instant.py`), so what is measured is the gateway. Blocks
alternate direct, gateway, direct, gateway. Every request switches all tiers off. The gateway has one core; upstream
and load generator share the other.
"""

import json

from bench.figures import median
from bench.load import Job, measure, merged
from bench.processes import Server, gateway, listening, two_cpus
from bench.rows import Row, Scale
from bench.wrk import Target, press

BODY_CHARS = 900
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
    kind, (plain, through), count = _kind(is_streaming), _bodies(is_streaming), scale.of(300, 100)
    pair = [Job("direct", direct, (plain,), count), Job("gateway", url, (through,), count)]
    found = measure(pair * scale.of(5, 2), cpu=cpu)
    straight, passed = merged(found[0::2]), merged(found[1::2])
    assert set(passed.tiers) == {"full"}, f"not only pass-through: {passed.tiers}"
    assert set(straight.tiers) == {""}, f"direct requests met a gateway: {straight.tiers}"
    rows = [_added(f"{kind}, 1 caller, p50", passed.total_ms, straight.total_ms)]
    if is_streaming:
        rows.append(_added(f"{kind}, 1 caller, first text, p50", passed.first_ms, straight.first_ms))
    return rows


def _added(what: str, passed: list[float], straight: list[float]) -> Row:
    here, there = median(passed), median(straight)
    return Row("passthrough", what, here, "ms", there, DIRECT, f"adds {here - there:.2f} ms")


def _kind(is_streaming: bool) -> str:
    return "streamed" if is_streaming else "whole"


def _bodies(is_streaming: bool) -> tuple[str, str]:
    """Straight, and through the gateway."""
    body = {"model": "test-model", "messages": [{"role": "user", "content": "x" * BODY_CHARS}], "stream": is_streaming}
    return json.dumps(body), json.dumps({**body, "cache": {"tiers": []}})
