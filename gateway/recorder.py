"""Keep an answer when it has ended by itself: the tee inside the flight, and the write-back behind it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from backends.chat import Completion, Delta, collect

log = logging.getLogger(__name__)


async def tee(
    deltas: AsyncGenerator[Delta, None], keep: Callable[[Completion, float], None]
) -> AsyncGenerator[Delta, None]:
    """Pass deltas through; call `keep` with the answer and the seconds it took, only if it ended by itself."""
    started = time.perf_counter()
    seen: list[Delta] = []
    async with aclosing(deltas):
        async for delta in deltas:
            seen.append(delta)
            yield delta
    keep(collect(seen), time.perf_counter() - started)


class Chores:
    """Work owed after an answer: owned tasks, bounded, finished at shutdown."""

    def __init__(self, limit: int = 100_000) -> None:  # more than the embedder's queue of patient texts
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = limit
        self.dropped = 0

    def add(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` soon. False, and the work is dropped, when too much is owed already."""
        if len(self._tasks) >= self._limit:
            work.close()
            self.dropped += 1
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return True

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a chore failed: %s", error, exc_info=error)

    async def finish(self, timeout_s: float = 5.0) -> None:
        """Wait for what is owed; what is not done in time is cancelled and counted."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
            self.dropped += 1

    def __len__(self) -> int:
        return len(self._tasks)
