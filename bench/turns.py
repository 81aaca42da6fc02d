"""Asking from this process, where every single answer has to be looked at: what a hit is, only its own headers say."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from bench.http1 import Connection, Timed
from bench.processes import pin


@contextmanager
def held_on(cpu: int | None) -> Iterator[None]:
    """Keep this thread on one core meanwhile: off that of whoever is asked."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    pin(0, cpu)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Block:
    """What many callers saw of one server."""

    hits: int
    missed: int
    seconds: float  # of all of them, those that missed too

    @property
    def per_second(self) -> float:
        """Hits alone: what was missed took its time and is no answer from the store."""
        return self.hits / self.seconds


def together(blocks: Sequence[Block]) -> Block:
    """Several blocks as one."""
    return Block(sum(one.hits for one in blocks), sum(one.missed for one in blocks), sum(one.seconds for one in blocks))


async def block(
    url: str, path: str, bodies: Sequence[bytes], concurrency: int, is_hit: Callable[[Timed], bool]
) -> Block:
    """Ask each of `bodies` once, over so many connections. Raises `RuntimeError` for what is no 200."""
    left, seen = iter(bodies), list[bool]()
    async with AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(Connection(url, path)) for _ in range(concurrency)]

        async def work(lane: Connection) -> None:
            for body in left:
                answer = await lane.post(body)
                if answer.status != 200:
                    raise RuntimeError(f"{url}{path} said {answer.status}: {answer.body[:200]!r}")
                seen.append(is_hit(answer))

        began_s = time.perf_counter()
        await asyncio.gather(*map(work, lanes))
        seconds = time.perf_counter() - began_s
    return Block(sum(seen), len(seen) - sum(seen), seconds)
