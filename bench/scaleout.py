"""One, two and four gateways on one Redis: requests a second, what a hit costs here and there, what Redis is asked.

    python -m bench scaleout

Real processes: gateways with memories of their own, one redis-server, an upstream that takes some milliseconds. A hit
is *local* where the gateway has the answer in memory, and *remote* where another gateway put it into Redis and this one
has never seen it. What Redis is asked is counted by Redis itself (commandstats: with what
scripts do inside), in round trips by the gateways.

On a machine with as many cores as processes, n gateways do n times what one does, until Redis is busy. Where there are
fewer, requests a second say how many cores there are; what holds everywhere is the processor time of a request in a
gateway and in Redis. Redis computes on one core: one over its time of a request is what it carries.
"""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import redis
import uvloop

from bench.figures import median, percentile
from bench.http1 import Connection
from bench.load import Job, Measured
from bench.load import run as run_job
from bench.processes import Server, gateway, upstream
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from bench.scaling import entry
from gateway.answers.base import Entry
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.identity.secret import load_secret
from gateway.services.semantic import load_embedder
from gateway.settings import CacheSettings

SIZES = (1, 2, 4)
MODEL = "slow:0.002"  # of the test upstream: so long before every token
CHAT = "/v1/chat/completions"
BODY_BYTES = 1024
CONCURRENCY = 8  # callers of every gateway
TOGETHER = 128  # answers written at once
PIECE = 50  # questions of a turn, remote and then local
VARIABLE = "SCALEOUT_SECRET"
CONFIG = f'secret_env = "{VARIABLE}"\nredis = "{{redis}}"\n[cache]\nsemantic = {{semantic}}\n'

_numbers = count()


@dataclass(frozen=True, slots=True)
class Asked:
    """What Redis was asked, so far."""

    commands: int
    cpu_s: float
    used_bytes: int

    def since(self, before: "Asked") -> "Asked":
        return Asked(self.commands - before.commands, self.cpu_s - before.cpu_s, self.used_bytes - before.used_bytes)


@dataclass(frozen=True, slots=True)
class Cost:
    """A workload: how fast it went, and what one request of it took."""

    per_second: float
    gateway_ms: float
    redis_us: float
    commands: float
    round_trips: float
    redis_bytes: float


@dataclass(frozen=True, slots=True)
class Site:
    redis_url: str
    gateways: Sequence[Server]
    client: "redis.Redis"

    def asked(self) -> Asked:
        """Commands of gateways: those that wait for news, and our own looks, are none of a request."""
        stats: dict[str, Any] = self.client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
        cpu: dict[str, float] = self.client.info("cpu")
        memory: dict[str, int] = self.client.info("memory")
        num = sum(number for name, number in calls.items() if name not in ("info", "xread", "ping"))
        return Asked(num, cpu["used_cpu_user"] + cpu["used_cpu_sys"], memory["used_memory"])

    def round_trips(self) -> int:
        return sum(one["redis"]["round_trips"] for one in self._stats())

    def vectors(self) -> int:
        return sum(one["vectors"] for one in self._stats())

    def _stats(self) -> list[dict[str, Any]]:
        return [httpx.get(f"{one.url}/admin/api/stats", trust_env=False).json() for one in self.gateways]


def run(scale: Scale) -> list[Row]:
    """Every size in turn, then hits of two gateways side by side."""
    os.environ[VARIABLE] = secrets.token_hex(32)
    rows: list[Row] = []
    first: dict[str, Cost] = {}
    for size in SIZES:
        with _site(size) as site:
            costs = uvloop.run(_workloads(site, scale.of(600, 60)))
            first = first or costs
            for name, cost in costs.items():
                rows += _rows(size, name, cost, first[name])
            if size == 2:
                rows.append(uvloop.run(_following(site, scale.of(600, 60))))
                rows.append(uvloop.run(_following_many(site, scale.of(5_000, 256))))
                rows += uvloop.run(_here_and_there(site, scale.of(8, 2)))
    fingerprint = load_embedder(CacheSettings()).fingerprint
    with _site(1, is_semantic=True) as site:
        rows.append(uvloop.run(_following_many(site, scale.of(5_000, 256), fingerprint)))
    return rows


@contextmanager
def _site(size: int, *, is_semantic: bool = False) -> Iterator[Site]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        url = stack.enter_context(redis_server(folder))
        backend = stack.enter_context(upstream())
        config = folder / "gateway.toml"
        config.write_text(CONFIG.format(redis=url, semantic=str(is_semantic).lower()), "utf-8")
        flags = ("--config", str(config), "--upstream", backend.url)
        gateways = [stack.enter_context(gateway(*flags, wait_semantic=is_semantic)) for _ in range(size)]
        client = redis.Redis.from_url(url)
        stack.callback(client.close)
        yield Site(url, gateways, client)


async def _workloads(site: Site, num: int) -> dict[str, Cost]:
    """Misses, then the same again as hits in memory."""
    callers = [one.url for one in site.gateways for _ in range(CONCURRENCY)]
    bodies = [tuple(_body() for _ in range(num // len(callers))) for _ in callers]  # nobody asks what another one asks
    return {
        "misses": await _cost(site, callers, bodies, "full"),
        "local hits": await _cost(site, callers, [own * 4 for own in bodies], "exact"),
    }


async def _cost(site: Site, callers: Sequence[str], bodies: Sequence[tuple[str, ...]], tier: str) -> Cost:
    jobs = [Job(url, url, own, len(own)) for url, own in zip(callers, bodies, strict=True)]
    num = sum(job.count for job in jobs)
    before, trips, cpu_s = site.asked(), site.round_trips(), sum(one.cpu_s() for one in site.gateways)
    began = time.perf_counter()
    measured: list[Measured] = await asyncio.gather(*map(run_job, jobs))
    seconds = time.perf_counter() - began
    assert all(one.tiers == {tier: one.count} for one in measured), [one.tiers for one in measured]
    cpu_s, asked = sum(one.cpu_s() for one in site.gateways) - cpu_s, site.asked().since(before)
    return Cost(
        num / seconds,
        cpu_s / num * 1e3,
        asked.cpu_s / num * 1e6,
        asked.commands / num,
        (site.round_trips() - trips) / num,
        asked.used_bytes / num,
    )


async def _following(site: Site, num: int) -> Row:
    """What one gateway's answers cost the other, which is told of each; beside it, what they cost the one."""
    one, other = site.gateways
    bodies = [tuple(_body() for _ in range(num // CONCURRENCY)) for _ in range(CONCURRENCY)]
    before = one.cpu_s(), other.cpu_s()
    began = time.perf_counter()
    await asyncio.gather(*(run_job(Job(one.url, one.url, own, len(own))) for own in bodies))
    seconds = time.perf_counter() - began
    own_s, other_s = one.cpu_s() - before[0], other.cpu_s() - before[1]
    at_rest = other.cpu_s()
    await asyncio.sleep(seconds)
    heard_ms = (other_s - (other.cpu_s() - at_rest)) / num * 1e3
    what = "hearing of an answer that another gateway made, one by one"
    return Row("scaleout", what, heard_ms, "ms", own_s / num * 1e3, "in the one that made it", "no semantic tier")


async def _following_many(site: Site, num: int, embedder: str = "") -> Row:
    """What it costs to hear of answers that come faster than one by one; with an `embedder`, of vectors, too."""
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        secret = load_secret(Path(folder), os.environ[VARIABLE])
    link = Link(site.redis_url, secret, timeout_s=30.0)
    store = RedisAnswers(link, replica=b"bench", budget_bytes=4 << 30)
    await store.open()
    cpu_s, began = sum(one.cpu_s() for one in site.gateways), time.perf_counter()
    for start in range(0, num, TOGETHER):
        some = (_told(number, embedder) for number in range(start, min(start + TOGETHER, num)))
        await asyncio.gather(*map(store.put, some))
    seconds = time.perf_counter() - began
    await asyncio.sleep(3.0 if embedder else 1.0)  # they are a little behind
    heard_ms = (sum(one.cpu_s() for one in site.gateways) - cpu_s) / len(site.gateways) / num * 1e3
    await store.close()
    await link.close()
    assert not embedder or site.vectors() == num, f"{site.vectors()} of {num} vectors came"
    what = f"hearing of an answer where {num / seconds:,.0f} come in a second"
    return Row("scaleout", what, heard_ms, "ms", note="with its vector" if embedder else "no semantic tier")


def _told(number: int, embedder: str) -> Entry:
    """An answer; ten have a partition of the index."""
    partition = blake2b(b"%d" % (number // 10), digest_size=32).digest()
    return replace(entry(number), compat=partition, embedder=embedder or None)


async def _here_and_there(site: Site, turns: int) -> list[Row]:
    """One caller: what the first gateway made is asked of the second, for the first time and again."""
    remote_ms: list[float] = []
    local_ms: list[float] = []
    commands, trips, cpu_s = 0, 0, 0.0
    for _ in range(turns):  # each with connections of its own: a gateway closes those that rest
        bodies = [_body().encode() for _ in range(PIECE)]
        async with Connection(site.gateways[0].url, CHAT) as one:
            for body in bodies:
                await one.post(body)
        await asyncio.sleep(0.2)  # what is written behind is written
        before, at_first = site.asked(), site.round_trips()
        async with Connection(site.gateways[1].url, CHAT) as two:
            remote_ms += [await _hit(two, body) for body in bodies]
            asked = site.asked().since(before)
            commands, cpu_s = commands + asked.commands, cpu_s + asked.cpu_s
            trips += site.round_trips() - at_first
            local_ms += [await _hit(two, body) for body in bodies]
    name, note = "2 gateways, one caller: ", "in turns"
    return [
        Row("scaleout", name + "remote hit p50", median(remote_ms), "ms", median(local_ms), "local hit p50", note),
        Row(
            "scaleout", name + "remote hit p99", percentile(remote_ms, 99), "ms",
            percentile(local_ms, 99), "local hit p99", note,
        ),
        Row("scaleout", name + "processor time of Redis of a remote hit", cpu_s / len(remote_ms) * 1e6, "us"),
        Row("scaleout", name + "Redis commands of a remote hit", commands / len(remote_ms), "commands"),
        Row("scaleout", name + "round trips of a remote hit", trips / len(remote_ms), "round trips"),
    ]  # fmt: skip


async def _hit(connection: Connection, body: bytes) -> float:
    timed = await connection.post(body)
    assert timed.headers["x-twicetold-tier"] == "exact", timed.headers
    return timed.total_s * 1000


def _rows(size: int, name: str, cost: Cost, first: Cost) -> list[Row]:
    what, beside = f"{size} gateway{'s' if size > 1 else ''}, {name}: ", "1 gateway"
    note = f"{os.cpu_count()} cores for all processes"
    rows = [
        Row("scaleout", what + "a second", cost.per_second, "req/s", first.per_second, beside, note),
        Row("scaleout", what + "processor time of gateways", cost.gateway_ms, "ms/req", first.gateway_ms, beside),
        Row("scaleout", what + "processor time of Redis", cost.redis_us, "us/req", first.redis_us, beside),
        Row("scaleout", what + "Redis commands", cost.commands, "a request", first.commands, beside),
        Row("scaleout", what + "Redis round trips", cost.round_trips, "a request", first.round_trips, beside),
    ]
    if name == "misses":
        rows.append(Row("scaleout", what + "memory of Redis", cost.redis_bytes, "bytes/answer"))
    return rows


def _body() -> str:
    """A chat request of about a kilobyte that nobody has made."""
    words = f"Question number {next(_numbers)}: "
    message = f'{{"role": "user", "content": "{words.ljust(BODY_BYTES - 80, "x")}"}}'
    return f'{{"model": "{MODEL}", "messages": [{message}]}}'
