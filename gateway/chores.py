"""Work owed after an answer: owned tasks, bounded in number and in bytes, finished at shutdown."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

LIMIT = 100_000  # more than the embedder's queue of patient texts
GIVING_UP_S = 1.0  # that cancelled work may take to let go
LIMIT_BYTES = 256 * 2**20  # of answers that a slow store lets pile up

log = logging.getLogger(__name__)


class Chores:
    """Belongs to one event loop."""

    def __init__(self, limit: int = LIMIT, limit_bytes: int = LIMIT_BYTES) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self.size_bytes = 0  # of what is owed, as far as it was told
        self.dropped = 0

    def add(self, work: Coroutine[Any, Any, None], size_bytes: int = 0) -> bool:
        """Run `work`, which holds so much, soon. False, and the work is dropped, when too much is owed already."""
        if len(self._tasks) >= self._limit or self.size_bytes + size_bytes > self._limit_bytes:
            work.close()
            self.dropped += 1
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self.size_bytes += size_bytes
        task.add_done_callback(lambda done: self._done(done, size_bytes))
        return True

    def _done(self, task: "asyncio.Task[None]", size_bytes: int) -> None:
        self._tasks.discard(task)
        self.size_bytes -= size_bytes
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a chore failed: %s", error, exc_info=error)

    async def finish(self, timeout_s: float = 5.0) -> int:
        """Wait for what is owed; what is not done in time is cancelled and counted. How many those were."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
            self.dropped += 1
        if late:
            await asyncio.wait(late, timeout=GIVING_UP_S)
        return len(late)

    def __len__(self) -> int:
        return len(self._tasks)
