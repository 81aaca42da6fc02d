"""Hundreds of streaming clients for an hour: what grows, what leaks, and how exact hits fare beside it all.

    python -m bench.faults.soak [--minutes 60] [--clients 500] [--out FILE]

Most clients ask an upstream that speaks slowly, some the local demo model; some read slowly, some leave in the middle,
some repeat a question. Every few minutes they pause, so that exact hits are timed at rest and beside the load within
the same minutes. Budgets are small, so that they are full after the warm-up (a quarter): from then on memory is flat
or something leaks. At the end everybody leaves, and what is left of them is counted: requests, tasks, descriptors,
engine slots, leases of KV blocks.

Each look is a line of JSON in FILE; the report is on standard output.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil

from backends.http import KEEPALIVE_S
from bench.faults.clients import question
from bench.faults.reading import read_stream
from bench.faults.watching import Look, at_rest, look, metrics_of, slope
from bench.figures import percentile
from bench.load import Job, measure
from bench.processes import Server, gateway, pin, two_cpus, upstream

CHAT = "/v1/chat/completions"
WARM_UP = 0.25
CYCLE_S = 240.0  # of it, at most, the last part is rest
REST_S = 40.0
PROBES = 300
PROBE_PAUSE_S = 0.01  # between two, or the probe uses half of its core and waits for that, and sees a third of a second
LOOK_EVERY_S = 10.0
LOCAL, SLOW, LEAVING, REPEATING = 0.1, 0.15, 0.15, 0.3  # of clients, of requests
PAUSE_S = (0.0, 2.0)  # between two requests of a client
FLAT_MB = 20.0  # an hour: what a slope may be, when its interval tells it from nothing
SETTINGS = """
drain_s = 5
[cache]
memory_mb = 8
disk_mb = 32
index_mb = 8
embeddings_mb = 0
[engine]
kv_mb = 32
kv_disk_mb = 64
threads = 1
max_waiting = 256
"""


@dataclass
class Crowd:
    """All clients, and what they have seen."""

    url: str
    rng: Random
    may_ask: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: bool = False
    asked: int = 0
    out: int = 0
    sent: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def body(self, *, is_local: bool) -> bytes:
        """A question, mostly a new one."""
        if self.asked and self.rng.random() < REPEATING:
            number = self.rng.randrange(max(0, self.asked - 2000), self.asked)
        else:
            number, self.asked = self.asked, self.asked + 1
        request: dict[str, Any] = {"messages": [{"role": "user", "content": question(number)}], "stream": True}
        request |= {"model": "demo", "max_tokens": 16} if is_local else {"model": "m"}
        return json.dumps(request).encode()

    async def run(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._client(number, Random(self.rng.random())))

    async def _client(self, number: int, rng: Random) -> None:
        is_local, is_slow = rng.random() < LOCAL, rng.random() < SLOW
        await asyncio.sleep(rng.uniform(0, 20))
        while not self.has_ended:
            await self.may_ask.wait()
            leaves = rng.random() < LEAVING
            self.out += 1
            self.sent += 1
            try:
                how = await read_stream(
                    self.url,
                    CHAT,
                    self.body(is_local=is_local),
                    pause_s=rng.uniform(0.05, 0.3) if is_slow else 0.0,
                    leave_after_s=rng.uniform(0.0, 20.0) if leaves else None,
                )
                self.seen[how.kind] += 1
                if how.kind == "bad":
                    self.bad.append(f"client {number}: {how.detail}")
            finally:
                self.out -= 1
            await asyncio.sleep(rng.uniform(*PAUSE_S))


def main() -> int:
    """Run it; 1 when a promise was broken."""
    options = _parser().parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        (folder / "config.toml").write_text(SETTINGS, "utf-8")
        here, beside = two_cpus()  # the gateway has a core of its own; its engines, clients and the upstream the other
        pin(0, beside)
        behind = stack.enter_context(upstream("slow:1.5", cpu=beside))  # 12 tokens: 18 seconds of an answer
        flags = ["--upstream", behind.url, "--model", "demo", "--config", str(folder / "config.toml")]
        server = stack.enter_context(gateway(*flags, cpu=here, within_s=600))
        for engine in psutil.Process(server.pid).children(recursive=True):
            pin_all(engine, beside)
        out = stack.enter_context(options.out.open("w"))
        return 1 if asyncio.run(_run(server, options, out)) else 0


async def _run(server: Server, options: argparse.Namespace, out: Any) -> list[str]:
    began_s = time.monotonic()
    hit = _hit(server.url)
    before = await asyncio.to_thread(at_rest, server.url, server.pid, began_s)
    crowd = Crowd(server.url, Random(0))
    looks: list[Look] = []
    idle, busy = [await _probe(server.url, hit)], list[list[float]]()
    crowd.may_ask.set()
    clients = asyncio.create_task(crowd.run(options.clients))
    watching = asyncio.create_task(_watch(server, looks, began_s, out))
    end_s = began_s + options.minutes * 60
    while (left_s := end_s - time.monotonic()) > REST_S + 30:
        await asyncio.sleep(min(CYCLE_S - REST_S, left_s - REST_S) / 2)
        busy.append(await _probe(server.url, hit))
        await asyncio.sleep(max(0.0, min(CYCLE_S - REST_S, end_s - time.monotonic() - REST_S) / 2))
        crowd.may_ask.clear()
        rest_s = time.monotonic() + REST_S
        while crowd.out and time.monotonic() < rest_s:  # noqa: ASYNC110 (it is none's business but ours)
            await asyncio.sleep(0.2)
        idle.append(await _probe(server.url, hit))
        print(_line(looks[-1], crowd, idle[-1], busy[-1]), flush=True)
        crowd.may_ask.set()
    crowd.has_ended = True
    crowd.may_ask.set()
    await clients
    watching.cancel()
    await asyncio.sleep(KEEPALIVE_S + 20)  # and the next look at the upstream finds them over
    after = await asyncio.to_thread(at_rest, server.url, server.pid, began_s)
    return _report(server, crowd, looks, before, after, idle, busy)


def pin_all(process: psutil.Process, cpu: int | None) -> None:
    """Hold a process that runs already on one core, with all its threads."""
    for thread in process.threads():
        with suppress(ProcessLookupError):
            pin(thread.id, cpu)


async def _watch(server: Server, looks: list[Look], began_s: float, out: Any) -> None:
    while True:
        with suppress(httpx.TransportError):
            seen = await asyncio.to_thread(look, server.url, server.pid, began_s)
            looks.append(seen)
            out.write(json.dumps(seen.as_json()) + "\n")
            out.flush()
        await asyncio.sleep(LOOK_EVERY_S)


def _hit(url: str) -> str:
    """A request that is an exact hit from now on."""
    request = json.dumps({"model": "m", "messages": [{"role": "user", "content": "What is kept?"}], "stream": False})
    for _ in range(2):
        httpx.post(url + CHAT, content=request, timeout=60, trust_env=False).raise_for_status()
    return request


async def _probe(url: str, hit: str) -> list[float]:
    """Milliseconds of exact hits, asked one after another by a process of its own."""
    job = Job("hit", url, (hit,), PROBES, pause_s=PROBE_PAUSE_S)
    (measured,) = await asyncio.to_thread(measure, [job], cpu=two_cpus()[0])
    return measured.total_ms


def _line(seen: Look, crowd: Crowd, idle: list[float], busy: list[float]) -> str:
    return (
        f"{seen.at_s / 60:5.1f} min: {crowd.sent} requests, gateway {seen.gateway_mb:.1f} MiB, engine"
        f" {seen.engines_mb:.1f} MiB, {seen.descriptors} fds, {seen.tasks} tasks, {seen.connections} connections;"
        f" exact hits p50/p99 {percentile(busy, 50):.1f}/{percentile(busy, 99):.1f} ms under load,"
        f" {percentile(idle, 50):.1f}/{percentile(idle, 99):.1f} ms at rest"
    )


def _report(
    server: Server,
    crowd: Crowd,
    looks: list[Look],
    before: Look,
    after: Look,
    idle: list[list[float]],
    busy: list[list[float]],
) -> list[str]:
    faults = list(crowd.bad[:20])
    print(f"{crowd.sent} requests of {crowd.asked} questions; seen: {dict(crowd.seen)}")
    print(f"most at one moment: {max(one.connections for one in looks)} connections, "
          f"{max(one.under_way for one in looks)} requests, {max(one.tasks for one in looks)} tasks")  # fmt: skip
    late = [one for one in looks if one.at_s >= WARM_UP * looks[-1].at_s]
    if len(late) >= 30:
        for name in ("gateway_mb", "engines_mb", "descriptors", "tasks"):
            growth = slope([(one.at_s, float(getattr(one, name))) for one in late])
            first, last = getattr(late[0], name), getattr(late[-1], name)
            print(f"{name} after the warm-up: {first:.1f} -> {last:.1f}, slope {growth}")
            if name.endswith("_mb") and growth.low > 0 and growth.per_hour > FLAT_MB:
                faults.append(f"{name} grows by {growth}")
    print(f"before: {before.as_json()}\nafter:  {after.as_json()}")
    if after.under_way or after.tasks > before.tasks + 2 or after.descriptors > before.descriptors + 16:
        faults.append("requests, tasks or descriptors are left behind")
    faults += [*_ledger(server.url, crowd, sum(map(len, idle + busy))), *_engine(server.url)]
    rest, load = [ms for part in idle for ms in part], [ms for part in busy for ms in part]
    ratio = percentile(load, 99) / percentile(rest, 99)
    by_turn = [percentile(b, 99) / percentile(i, 99) for b, i in zip(busy, idle[1:], strict=False)]
    print("p99 under load over p99 at rest, turn by turn: " + " ".join(f"{one:.2f}" for one in by_turn))
    print(f"exact hits: p99 {percentile(load, 99):.2f} ms under load, {percentile(rest, 99):.2f} ms at rest:"
          f" {ratio:.2f}x (p50 {percentile(load, 50):.2f}, {percentile(rest, 50):.2f})")  # fmt: skip
    for fault in faults:
        print(f"BROKEN: {fault}")
    print("soak:", "BROKEN" if faults else "all promises kept", flush=True)
    return faults


def _ledger(url: str, crowd: Crowd, probes: int) -> list[str]:
    """Requests sent are those answered, failed, or given up by who asked."""
    counted = metrics_of(url)
    answered = sum(value for name, value in counted.items() if name.startswith("twicetold_requests_total"))
    failed = sum(value for name, value in counted.items() if name.startswith("twicetold_errors_total"))
    sent, left = crowd.sent + probes + 2, crowd.seen["left"]
    missing = sent - answered - failed
    print(f"ledger: {sent} sent = {answered:.0f} answered + {failed:.0f} errors + {missing:.0f} given up;"
          f" clients left {left} times")  # fmt: skip
    return [] if 0 <= missing <= left else [f"{missing:.0f} requests are in no ledger, {left} were given up"]


def _engine(url: str) -> list[str]:
    """Blocks: free + cached + leased = total, none leased; nothing runs or waits."""
    engine = httpx.get(f"{url}/admin/api/stats", timeout=60, trust_env=False).json()["engine"]
    kv = engine["kv"]
    parts = [kv[f"blocks_{name}"] for name in ("free", "cached", "leased", "total")]
    print(f"engine: running {engine['running']}, waiting {engine['waiting']}; blocks: free {parts[0]}"
          f" + cached {parts[1]} + leased {parts[2]} = {sum(parts[:3])}, total {parts[3]};"
          f" restarts {engine['restarts']}")  # fmt: skip
    is_whole = sum(parts[:3]) == parts[3] and not (parts[2] or engine["running"] or engine["waiting"])
    return [] if is_whole and not engine["restarts"] else ["slots, leases or processes of the engine are lost"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("bench/out/soak.jsonl"), help="a line of JSON for each look")
    return parser


if __name__ == "__main__":
    sys.exit(main())
