"""Work on the event loop in steps: everybody else is served between them."""

import asyncio
import time
from collections import deque
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

STEP_S = 0.0005  # of work, after which the others have their turn


class Pace:
    """One piece of work in each turn of the loop, in the order they came, however many come at once: sixteen questions
    get their vectors in the same moment, and a millisecond for each of them in one turn is what a hit would wait for.
    Belongs to one event loop."""

    def __init__(self) -> None:
        self._is_taken = False  # somebody works in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Come back in a turn that nobody else of this pace works in; at once, if it is this one."""
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            loop.call_soon(self._next)
            return
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _next(self) -> None:
        while self._waiting:
            one = self._waiting.popleft()
            if not one.done():  # who gave up needs none
                one.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._is_taken = False


async def in_steps(work: Generator[None, None, T], pace: Pace) -> T:
    """What the work returns. It has a turn of its pace whenever `STEP_S` are over at the end of a step."""
    while True:
        await pace.turn()
        until_s = time.perf_counter() + STEP_S
        try:
            next(work)
            while time.perf_counter() < until_s:
                next(work)
        except StopIteration as end:
            done: T = end.value
            return done
