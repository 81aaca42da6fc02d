"""The async front of an embedder: one thread owns the model, the event loop only waits.

    embed(text) -> memo? -> queue -> worker takes what has gathered, up to max_batch -> embed -> memo -> futures

The worker takes what is waiting whenever it is free: a lone request is never held back to fill a batch, and requests
that arrive while it is busy share the next one. A text that is asked for several times at once is embedded once.
`read` gives the states of the word pieces too: the same forward, a larger result, and a memo of its own.
Whoever is patient waits in a queue of their own, without a timeout: it is worked on when nobody else waits, in smaller
batches, so a burst of stored answers loses no vector and costs a lookup the batch under way and no more.
The thread may be told to stand back for others (`niceness`): it loses nothing on a core of its own, and beside the
event loop, on one core, it no longer holds the loop up for a few milliseconds at a time.
An embedder that has been at one batch for `hang_s` costs later askers nothing: they are refused at once until it goes
on.
Everything under `_lock` is touched by both sides; futures are resolved on their own loop.
"""

import asyncio
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from embeddings.base import DoesNotFit, Embedder, EmbedderError, Reading, Vector
from embeddings.memo import ReadingMemo
from embeddings.outcomes import Outcome, outcomes_of

T = TypeVar("T")
State = Literal["loading", "ready", "failed", "closed"]


@dataclass(slots=True)
class BatcherStats:
    """Plain counters since the start; read them, do not write."""

    texts: int = 0  # sent to the model
    patient: int = 0  # taken when nobody was in a hurry
    batches: int = 0
    memo_hits: int = 0
    joined: int = 0  # asked for while the same text was already waiting
    failures: int = 0  # texts the model failed on
    refused: int = 0  # queue full
    timeouts: int = 0
    seconds: float = 0.0  # inside the model


Future = asyncio.Future[Outcome]


@dataclass(slots=True, eq=False)
class _Job:
    """One text and everyone who waits for it, all on the loop that first asked or on others."""

    text: str
    waiters: list[tuple[asyncio.AbstractEventLoop, Future]] = field(default_factory=list)
    is_read: bool = False  # somebody wants the states too
    queue: "OrderedDict[str, _Job] | None" = field(default=None, repr=False)  # None: the worker has it


class EmbeddingBatcher:
    """Embed without blocking the event loop. `load` runs in the worker thread and may take seconds."""

    def __init__(
        self,
        load: Callable[[], Embedder],
        *,
        max_batch: int = 16,  # more are hardly faster together, and keep whoever comes next waiting
        max_batch_chars: int = 1024,  # likewise; a longer text goes alone
        max_waiting: int = 1024,
        max_patient_batch: int = 8,
        max_patient: int = 65_536,
        memo_entries: int = 4096,
        memo_bytes: int = 16 << 20,  # of readings: some 500 questions of 20 word pieces
        timeout_s: float = 5.0,
        hang_s: float = 10.0,
        close_s: float = 30.0,
        niceness: int = 0,
    ) -> None:
        self.state: State = "loading"
        self.detail = "loading the embedder"
        self.embedder: Embedder | None = None  # there when `state` is ready
        self.stats = BatcherStats()
        self._load = load
        self._max_batch = max_batch
        self._max_batch_chars = max_batch_chars
        self._max_waiting = max_waiting
        self._max_patient_batch = max_patient_batch
        self._max_patient = max_patient
        self._memo_entries = memo_entries
        self._timeout_s = timeout_s
        self._hang_s = hang_s
        self._close_s = close_s
        self._niceness = niceness
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._busy_since_s: float | None = None  # the batch under way
        self._jobs: dict[str, _Job] = {}  # waiting and in flight
        self._hurried: OrderedDict[str, _Job] = OrderedDict()  # of `_jobs`, those that wait, oldest first
        self._patient: OrderedDict[str, _Job] = OrderedDict()  # likewise; taken when nobody is in a hurry
        self._memo: OrderedDict[str, Vector] = OrderedDict()
        self._readings = ReadingMemo(memo_bytes)
        self._loaded: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._thread = threading.Thread(target=self._work, name="embedder", daemon=True)
        self._thread.start()

    async def embed(self, text: str, *, is_patient: bool = False) -> Vector:
        """The vector of `text`, float32, shape (dim,), read-only. Raises `EmbedderError` when it takes too long, the
        queue is full, loading failed or the model did, and its `DoesNotFit` when the model cannot see all of it.
        A patient caller lets everyone else go first, and waits as long as it takes."""
        (outcome,) = await self._outcomes([text], is_patient, is_read=False)
        return outcome.vector if isinstance(outcome, Reading) else outcome

    async def read(self, texts: Sequence[str], *, is_patient: bool = False) -> list[Reading]:
        """The readings of `texts` in order, read-only, from as few batches as may be; all of them or an error, as in
        `embed`."""
        outcomes = await self._outcomes(texts, is_patient, is_read=True)
        return [outcome for outcome in outcomes if isinstance(outcome, Reading)]

    async def _outcomes(self, texts: Sequence[str], is_patient: bool, *, is_read: bool) -> list[Outcome]:
        joined: dict[str, tuple[_Job, Future]] = {}
        found: dict[str, Outcome] = {}
        timer: asyncio.TimerHandle | None = None
        try:
            with self._lock:
                for text in dict.fromkeys(texts):
                    if (known := self._known(text, is_read)) is not None:
                        found[text] = known
                    else:
                        joined[text] = self._join(text, is_patient, is_read)
            if joined and not is_patient:
                timer = asyncio.get_running_loop().call_later(
                    self._timeout_s, self._give_up, [future for _, future in joined.values()]
                )
            for text in joined:
                found[text] = await joined[text][1]
        finally:
            if timer is not None:
                timer.cancel()
            self._leave_all([known for text, known in joined.items() if text not in found])
            joined.clear()  # an error knows this frame, and a future its error: only a collection would free a cycle
        return [found[text] for text in texts]

    async def ready(self) -> Embedder:
        """Wait until the embedder is loaded and return it; raises `EmbedderError` when it cannot be."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self.state == "loading":
                self._loaded.append((loop, future))
            else:
                future.set_result(None)
        await future
        if self.embedder is None or self.state != "ready":
            raise EmbedderError(self.detail)
        return self.embedder

    async def close(self) -> None:
        """Stop: whoever waits gets an `EmbedderError`. Returns when the thread has ended, after a load or a batch
        that was under way; one that hangs is left behind. May be called twice."""
        with self._lock:
            if self.state != "closed":
                self._end("closed", "the embedder is closed")
            self._has_work.notify_all()
        await asyncio.to_thread(self._thread.join, self._close_s)

    # -- on the event loop -------------------------------------------------------------------------------------------

    def _known(self, text: str, is_read: bool) -> Outcome | None:
        """What a memo holds. Call with the lock held."""
        known: Outcome | None = self._readings.get(text)
        if known is None and not is_read and (known := self._memo.get(text)) is not None:
            self._memo.move_to_end(text)
        self.stats.memo_hits += known is not None
        return known

    def _join(self, text: str, is_patient: bool, is_read: bool) -> tuple[_Job, Future]:
        """Wait for `text`, with those who do; one in a hurry takes the patient along. Call with the lock held."""
        if self.state in ("failed", "closed"):
            raise EmbedderError(self.detail)
        if not is_patient and self._busy_since_s is not None:
            busy_s = time.monotonic() - self._busy_since_s
            if busy_s > self._hang_s:
                self.stats.refused += 1
                raise EmbedderError(f"the embedder has been at one batch for {busy_s:.0f} s")
        job = self._jobs.get(text)
        self.stats.joined += job is not None
        if job is not None and job.queue is None and is_read and not job.is_read:
            job = None  # the worker has it and will give a vector only: a second job for its states
        if job is None or (job.queue is self._patient and not is_patient):
            job = self._queue(job or _Job(text), is_patient)
        job.is_read |= is_read
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        job.waiters.append((loop, future))
        return job, future

    def _queue(self, job: _Job, is_patient: bool) -> _Job:
        """Let the worker find `job` at the end of the right queue. Call with the lock held."""
        queue, limit = (self._patient, self._max_patient) if is_patient else (self._hurried, self._max_waiting)
        if len(queue) >= limit:
            self.stats.refused += 1
            raise EmbedderError(f"{len(queue)} texts are waiting to be embedded already")
        if job.queue is not None:
            del job.queue[job.text]
        self._jobs[job.text] = queue[job.text] = job
        job.queue = queue
        self._has_work.notify()
        return job

    def _give_up(self, waits: Sequence[Future]) -> None:
        """It took too long: whoever waits is told. A timer of our own, as `asyncio.timeout` costs twice the calls."""
        late = [future for future in waits if not future.done()]
        if late:
            with self._lock:
                self.stats.timeouts += 1
            error = EmbedderError(f"no vector within {self._timeout_s:g} s ({self.state})")
            for future in late:
                future.set_exception(error)

    def _leave_all(self, left: Sequence[tuple[_Job, Future]]) -> None:
        """Apart from who waited, whose frame an error keeps: a name of the loop there would keep the last future."""
        for job, future in left:
            self._leave(job, future)

    def _leave(self, job: _Job, future: Future) -> None:
        """Whoever gave up takes the text out of the queue, unless others want it or it is being embedded."""
        if not future.cancel() and not future.cancelled():
            future.exception()  # it failed beside another that was raised: now somebody has looked at it
        with self._lock:
            job.waiters = [waiter for waiter in job.waiters if waiter[1] is not future]
            if not job.waiters and job.queue is not None:
                del self._jobs[job.text], job.queue[job.text]
                job.queue = None

    # -- in the worker thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            embedder = self._load()
        except Exception as exc:  # the root of the thread: whatever loading does must be reported, not lost
            with self._lock:
                if self.state != "closed":
                    self._end("failed", str(exc) or type(exc).__name__)
            return
        with self._lock:
            if self.state == "closed":
                return
            self.embedder, self.state, self.detail = embedder, "ready", embedder.fingerprint
            self._tell_loaded()
        if self._niceness and sys.platform == "linux":  # which counts it by thread
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while jobs := self._take():
            self._run(embedder, jobs)
            with self._lock:
                self._busy_since_s = None

    def _take(self) -> list[_Job]:
        """The next batch, oldest first, the patient when nobody else waits; empty when closed."""
        with self._has_work:
            self._has_work.wait_for(lambda: self._hurried or self._patient or self.state == "closed")
            if self.state == "closed":
                return []
            queue, limit = self._hurried, self._max_batch
            if not queue:
                queue, limit = self._patient, self._max_patient_batch
            jobs: list[_Job] = []
            num_chars = 0
            while queue and len(jobs) < limit:
                num_chars += len(next(iter(queue)))
                if jobs and num_chars > self._max_batch_chars:
                    break
                jobs.append(queue.popitem(last=False)[1])
                jobs[-1].queue = None
            self.stats.patient += len(jobs) if queue is self._patient else 0
            self._busy_since_s = time.monotonic()
            return jobs

    def _run(self, embedder: Embedder, jobs: Sequence[_Job]) -> None:
        fitting = []
        for job in jobs:
            try:
                if not embedder.fits(job.text):
                    raise DoesNotFit(f"a text of {len(job.text)} characters is more than the embedder can see")
                fitting.append(job)
            except Exception as exc:  # the root of the thread: one bad text must not end it
                self._finish(job, exc)
        if fitting:
            self._embed(embedder, fitting)

    def _embed(self, embedder: Embedder, jobs: Sequence[_Job]) -> None:
        """Embed a batch; when it fails, one by one, so that a bad text fails alone."""
        started = time.perf_counter()
        try:
            outcomes = outcomes_of(embedder, [job.text for job in jobs], is_read=any(job.is_read for job in jobs))
        except Exception as exc:  # the root of the thread: one bad batch must not end it
            if len(jobs) == 1:
                self._finish(jobs[0], exc)
                return
            for job in jobs:
                self._embed(embedder, [job])
            return
        with self._lock:
            self.stats.batches += 1
            self.stats.texts += len(jobs)
            self.stats.seconds += time.perf_counter() - started
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._finish(job, outcome)

    def _finish(self, job: _Job, outcome: Outcome | Exception) -> None:
        with self._lock:
            if self._jobs.get(job.text) is job:
                del self._jobs[job.text]
            if isinstance(outcome, Exception):
                self.stats.failures += not isinstance(outcome, DoesNotFit)
                if not isinstance(outcome, EmbedderError):
                    outcome = EmbedderError(f"embedding failed: {outcome!r}")
            else:
                if isinstance(outcome, Reading):
                    self._readings.put(outcome)
                self._memo[job.text] = outcome.vector if isinstance(outcome, Reading) else outcome
                while len(self._memo) > self._memo_entries:
                    self._memo.popitem(last=False)
            for loop, future in job.waiters:
                _resolve(loop, future, outcome)
            job.waiters.clear()  # the frame that an error was raised in knows its job

    def _end(self, state: State, detail: str) -> None:
        """Nothing will be embedded any more: say so to everyone. Call with the lock held."""
        self.state, self.detail = state, detail
        for job in self._jobs.values():
            for loop, future in job.waiters:
                _resolve(loop, future, EmbedderError(detail))
            job.queue = None
        for jobs in (self._jobs, self._hurried, self._patient):
            jobs.clear()
        self._tell_loaded()

    def _tell_loaded(self) -> None:
        for loop, future in self._loaded:
            _resolve(loop, future, None)
        self._loaded.clear()


def _resolve(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], outcome: T | Exception) -> None:
    def settle() -> None:
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
        loop.call_soon_threadsafe(settle)
