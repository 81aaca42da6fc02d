"""Keep an answer when it has ended by itself: the tee inside the flight, and the write-back behind it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from backends.chat import Completion, Delta, collect
from gateway.answers.base import CacheError, Entry, NearAnswers, unembedded_of
from gateway.asked import Asked
from gateway.ledger import Ledger
from gateway.policy import refuse_to_keep
from gateway.semantic import Semantic

PUTS_AT_ONCE = 1024  # of a burst of answers; the others wait their turn, so the store never refuses one

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


class Recorder:
    """Keeps answers, and what is learned from them, behind the callers' backs."""

    def __init__(self, answers: NearAnswers, semantic: Semantic | None, ledger: Ledger) -> None:
        self.chores = Chores()
        self._answers = answers
        self._semantic = semantic
        self._ledger = ledger
        self._may_put = asyncio.Semaphore(PUTS_AT_ONCE)

    def keep(self, asked: Asked, completion: Completion, elapsed_s: float) -> None:
        """Make the answer available at once; the store and the index hear of it behind the answer's back."""
        refusal = refuse_to_keep(completion)
        self._ledger.looked_up("write", "refused" if refusal else "kept", refusal or "complete")
        if refusal is not None:
            return
        now_s = time.time()
        entry = Entry(
            id=asked.fp.entry_id,
            scope=asked.fp.scope,
            exact=asked.fp.exact,
            compat=asked.fp.compat,
            canonical=asked.fp.canonical,
            question=asked.question if asked.plan.remember_question else None,
            model=asked.request.model,
            completion=completion,
            created_s=now_s,
            expires_s=None if asked.plan.ttl_s is None else now_s + asked.plan.ttl_s,
            elapsed_s=elapsed_s,
            tags=asked.controls.tags,
        )
        with self._ledger.best_effort("exact_write"):
            self._answers.put_now(entry)
        with self._ledger.best_effort("write_back"):
            if not self.chores.add(self._write_back(entry)):
                raise CacheError(f"{len(self.chores)} answers wait for the store already")

    def count_hit(self, entry: Entry) -> None:
        """Note that an entry was served."""
        self.chores.add(self._count_hit(entry.id))

    async def _count_hit(self, entry_id: str) -> None:
        with self._ledger.best_effort("count_hit"):
            await self._answers.count_hit(entry_id)

    async def _write_back(self, entry: Entry) -> None:
        async with self._may_put:
            with self._ledger.best_effort("exact_write"):
                await self._answers.put(entry)
        question = unembedded_of(entry)
        del entry  # its vector may be long in coming, and needs the question alone
        if self._semantic is not None and question is not None:
            with self._ledger.best_effort("embed"):
                await self._semantic.learn(question)
