"""Single flight across gateways: what a plain miss pays, how far a follower is behind, when a dead leader is replaced.

Both replicas live in this process, on one clock and one core, with a Redis beside them: what is compared is the same
generation, started as a flight of one gateway and as one that others may join.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_bytes

from backends.chat import Delta
from bench.figures import median, percentile
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from gateway.answers.redis.connection import Link
from gateway.flights import Flight, Source
from gateway.identity.secret import SECRET_BYTES
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.shared.flights.leading import Term
from gateway.shared.flights.post import Post
from gateway.shared.flights.shared import LEASE_S, SharedFlights

SECRET = b"benchmark".ljust(SECRET_BYTES, b".")
TOKEN_S = 0.02  # between two deltas of a model that is no slouch


def run(scale: Scale) -> list[Row]:
    """All figures, on a Redis of their own."""
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder, redis_server(Path(folder)) as url:
        return asyncio.run(_measure(url, scale))


async def _measure(url: str, scale: Scale) -> list[Row]:
    async with AsyncExitStack() as stack:
        links = [Link(url, SECRET) for _ in range(2)]
        replicas = []
        for name, link in zip("ab", links, strict=True):
            flights = SharedFlights(link, SECRET, Ledger(Metrics()), replica=name)
            stack.push_async_callback(link.close)
            await flights.open()
            stack.push_async_callback(flights.close)
            replicas.append(flights)
        a, b = replicas
        return [
            *await _plain_miss(a, links[0], scale.of(1000, 50)),
            *await _behind(a, b, links, scale.of(200, 20)),
            await _late(a, b, scale.of(2000, 200)),
            await _dead(b, Post(links[0], SECRET, replica="dead", lease_s=LEASE_S)),
        ]


async def _plain_miss(here: SharedFlights, link: Link, times: int) -> list[Row]:
    alone, shared = [], []
    commands = link.commands
    for _ in range(times):
        alone.append(await _first_s(_said))
        shared.append(await _first_s(here.flight(token_bytes(32), _generate, waited_s=0.0)))
    note = f"p99 {percentile(shared, 99) * 1000:.2f} ms; load {os.getloadavg()[0]:.1f}"
    what, beside = "a plain miss: to the first delta, p50", "a flight of one gateway"
    return [
        Row("flights", what, median(shared) * 1000, "ms", median(alone) * 1000, beside, note),
        Row("flights", "a plain miss: commands", (link.commands - commands) / times, "commands"),
    ]


async def _first_s(source: Source) -> float:
    began_s = time.perf_counter()
    deltas = Flight(source, lambda _: None).ride()
    await anext(deltas)
    passed_s = time.perf_counter() - began_s
    async for _ in deltas:
        pass
    return passed_s


async def _behind(a: SharedFlights, b: SharedFlights, links: list[Link], count: int) -> list[Row]:
    exact, behind = token_bytes(32), []

    async def timed() -> AsyncGenerator[Delta, None]:
        for _ in range(count):
            yield Delta(fields={"content": repr(time.perf_counter())})
            await asyncio.sleep(TOKEN_S)

    leading = Flight(a.flight(exact, lambda _: timed(), waited_s=0.0), lambda _: None).ride()
    await anext(leading)
    commands, began_s = sum(link.commands for link in links), time.perf_counter()
    following = b.flight(exact, _generate, waited_s=0.0)
    drained = asyncio.create_task(_drain(leading))
    async for delta in following():
        behind.append(time.perf_counter() - float(delta.text))  # noqa: PERF401 (as it comes)
    await drained
    assert following.is_elsewhere
    rate = (sum(link.commands for link in links) - commands) / (time.perf_counter() - began_s)
    note = f"p99 {percentile(behind[1:], 99) * 1000:.1f} ms; a delta every {TOKEN_S * 1000:.0f} ms"
    return [
        Row("flights", "a follower is behind its leader, p50", median(behind[1:]) * 1000, "ms", note=note),
        Row("flights", "while it is followed: commands", rate, "a second", note="both gateways together"),
    ]


async def _late(a: SharedFlights, b: SharedFlights, count: int) -> Row:
    """Who comes late is told all that was said."""
    exact, may_end = token_bytes(32), asyncio.Event()

    async def said() -> AsyncGenerator[Delta, None]:
        for number in range(count):
            yield Delta(fields={"content": f" word {number}"})
        await may_end.wait()

    leading = Flight(a.flight(exact, lambda _: said(), waited_s=0.0), lambda _: None).ride()
    for _ in range(count):
        await anext(leading)
    began_s = time.perf_counter()
    following = b.flight(exact, _generate, waited_s=0.0)()
    for _ in range(count):
        await anext(following)
    passed_s = time.perf_counter() - began_s
    may_end.set()
    await asyncio.gather(_drain(leading), _drain(following))
    return Row("flights", f"a latecomer has all of {count} deltas after", passed_s * 1000, "ms")


async def _dead(b: SharedFlights, dead: Post) -> Row:
    """A leader takes the lease and is never heard of again."""
    flight = b.flight(token_bytes(32), _generate, waited_s=0.0)
    await dead.claim(flight.name, 0.0)
    began_s = time.perf_counter()
    await _drain(flight())
    return Row(
        "flights", "a leader that died is replaced after", time.perf_counter() - began_s, "s", LEASE_S, "a lease"
    )


async def _drain(deltas: AsyncGenerator[Delta, None]) -> None:
    async for _ in deltas:
        pass


def _generate(term: Term) -> AsyncGenerator[Delta, None]:
    return term.ending(_said())


async def _said() -> AsyncGenerator[Delta, None]:
    for word in ("one", " two", " three"):
        yield Delta(fields={"content": word})
