"""Work on the event loop in steps: everybody else is served between them."""

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

STEP_S = 0.001  # of work, after which the others have their turn


async def in_steps(work: Generator[None, None, T]) -> T:
    """What the work returns. The loop has had a turn before it begins, and has one whenever `STEP_S` are over at the
    end of a step."""
    while True:
        await asyncio.sleep(0)
        until_s = time.perf_counter() + STEP_S
        try:
            while time.perf_counter() < until_s:
                next(work)
        except StopIteration as end:
            done: T = end.value
            return done
