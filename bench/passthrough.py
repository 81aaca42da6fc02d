"""Pass-through overhead: the same requests straight to an upstream that answers at once, and through the gateway.

The upstream sends prebuilt bytes, so what is measured is the gateway (and, direct, the upstream's own server). Blocks
alternate direct, gateway, direct, gateway. Every request switches all tiers off. The gateway has one core; upstream
and load generator share the other.
"""

import json

from bench.figures import median, percentile
from bench.load import Job, Measured, measure, merged
from bench.processes import gateway, two_cpus, upstream
from bench.rows import Row, Scale

BODY_CHARS = 900


def run(scale: Scale) -> list[Row]:
    """Streamed and not, at concurrency 1 and 16."""
    server_cpu, driver_cpu = two_cpus()
    rows: list[Row] = []
    with upstream("fast", cpu=driver_cpu) as backend, gateway("--upstream", backend.url, cpu=server_cpu) as server:
        direct = backend.url.removesuffix("/v1")
        for is_streaming in (False, True):
            for concurrency in (1, 16):
                before = server.cpu_s()
                name, straight, passed = _alternate(server.url, direct, is_streaming, concurrency, scale, driver_cpu)
                rows += _rows(name, straight, passed, (server.cpu_s() - before) * 1000 / passed.count)
    return rows


def _alternate(
    url: str, direct: str, is_streaming: bool, concurrency: int, scale: Scale, cpu: int | None
) -> tuple[str, Measured, Measured]:
    body = {"model": "test-model", "messages": [{"role": "user", "content": "x" * BODY_CHARS}], "stream": is_streaming}
    plain, through = json.dumps(body), json.dumps({**body, "cache": {"tiers": []}})
    count = scale.of(300 if concurrency == 1 else 800, 100)
    pair = [Job("direct", direct, (plain,), count, concurrency), Job("gateway", url, (through,), count, concurrency)]
    found = measure(pair * scale.of(5, 2), cpu=cpu)
    straight, passed = merged(found[0::2]), merged(found[1::2])
    assert set(passed.tiers) == {"full"}, f"not only pass-through: {passed.tiers}"
    assert set(straight.tiers) == {""}, f"direct requests met a gateway: {straight.tiers}"
    name = f"{'streamed' if is_streaming else 'whole'}, {concurrency} caller{'s' if concurrency > 1 else ''}"
    return name, straight, passed


def _rows(name: str, straight: Measured, passed: Measured, cpu_ms: float) -> list[Row]:
    added = median(passed.total_ms) - median(straight.total_ms)
    added_99 = percentile(passed.total_ms, 99) - percentile(straight.total_ms, 99)
    note = f"adds {added:.2f} ms at p50, {added_99:.2f} ms at p99; {cpu_ms:.2f} ms of processor per request"
    return [
        Row("passthrough", f"{name}, p50", median(passed.total_ms), "ms", median(straight.total_ms), "direct", note),
        Row("passthrough", f"{name}, rate", passed.per_second, "req/s", straight.per_second, "direct"),
    ]
