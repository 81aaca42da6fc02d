"""One thread that owns one SQLite connection, driven from an event loop.

    loop    call(work) --queue-->  thread   everything that waits is taken together and given to `run`
            future     <-- call_soon_threadsafe, once per batch

Only the loop touches `_waiting`; only the thread touches the connection. The queue is bounded: what does not fit is
refused at once. So is what comes while the thread has been at one thing for longer than anybody's patience (a disk
that hangs); who waited already hears of it when theirs is over, and the end does not wait for such a thread for ever.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gateway.answers.base import CacheError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Results = list[Any]  # one per work: its value, or the exception it ended with
Run = Callable[[sqlite3.Connection, Sequence[Work]], Results]

PATIENCE_S = 60.0
CLOSE_S = 20.0  # what waits to be written may take so long at the end

_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SICK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    future: asyncio.Future[Any]
    is_alone: bool = False


_Queue = SimpleQueue[_Job | None]


class ConnectionThread:
    """Runs work on a connection of its own, off the event loop. Open it once, close it once."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], sqlite3.Connection],
        run: Run,
        *,
        max_waiting: int,
        max_together: int,
        patience_s: float = PATIENCE_S,
        close_s: float = CLOSE_S,
    ) -> None:
        self._name = name
        self._connect = connect
        self._run = run
        self._max_waiting = max_waiting
        self._max_together = max_together
        self._patience_s = patience_s
        self._close_s = close_s
        self._queue: _Queue = SimpleQueue()
        self._waiting = 0
        self._idle = asyncio.Event()  # set while nobody waits
        self._busy_since_s: float | None = None  # written by the thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Start the thread and connect. Raises what `connect` raises."""
        self._loop = asyncio.get_running_loop()
        self._queue, self._waiting, self._busy_since_s = SimpleQueue(), 0, None
        self._idle = asyncio.Event()
        self._idle.set()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = self._loop.create_future()
        life = (self._queue, opened, self._closed)  # one that was left behind when it hung may go on some day
        thread = threading.Thread(target=self._main, args=life, name=self._name, daemon=True)
        thread.start()
        try:
            await opened
        except BaseException:
            self._queue.put(None)
            raise
        self._thread = thread

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection. Raises `CacheError` when closed, too much is waiting or it takes too long, and
        what it raises. What took too long may still be done."""
        try:
            async with asyncio.timeout(self._patience_s) as patience:
                result: T = await self.submit(work)
        except TimeoutError as error:
            if patience.expired():
                raise CacheError(f"{self._name} gave no answer within {self._patience_s:g} s") from error
            raise
        return result

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for it. Any thread may ask."""
        return self._waiting > 0

    async def idle(self, within_s: float) -> None:
        """Return when nobody waits for it, or so many seconds later."""
        if self._idle.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    def submit(self, work: Work, *, is_alone: bool = False) -> asyncio.Future[Any]:
        """Queue `work` without waiting for it; `is_alone`: not for `run`, which may have a transaction open. Raises
        `CacheError` when closed or too much is waiting."""
        if self._thread is None or self._loop is None:
            raise CacheError("the answer store is not open")
        busy_since_s = self._busy_since_s
        if busy_since_s is not None and (busy_s := time.monotonic() - busy_since_s) > self._patience_s:
            raise CacheError(f"{self._name} hangs for {busy_s:.0f} s")
        if self._waiting >= self._max_waiting:
            raise CacheError(f"{self._waiting} operations wait for the answer store already")
        self._waiting += 1
        self._idle.clear()
        future = self._loop.create_future()
        self._queue.put(_Job(work, future, is_alone))
        return future

    async def close(self) -> None:
        """Run what is queued, then disconnect; a thread that hangs is left behind."""
        thread, self._thread = self._thread, None
        if thread is None or self._closed is None:
            return
        self._queue.put(None)
        is_over, _ = await asyncio.wait([self._closed], timeout=self._close_s)
        if is_over:
            thread.join()  # it has nothing left to do but return
        else:
            log.error("%s hangs, %d operations are given up", self._name, self._waiting)

    # -- on the thread -------------------------------------------------------------------------------------------

    def _main(self, queue: _Queue, opened: asyncio.Future[None], closed: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            self._tell(_settle, [opened], [error])
            return
        self._tell(_settle, [opened], [None])
        try:
            while jobs := self._take(queue):
                self._note(queue, time.monotonic())
                results = self._results(connection, jobs)
                self._note(queue, None)
                self._tell(self._done, queue, jobs, results)
        finally:
            connection.close()
            self._tell(_settle, [closed], [None])

    def _note(self, queue: _Queue, busy_since_s: float | None) -> None:
        if queue is self._queue:
            self._busy_since_s = busy_since_s

    def _take(self, queue: _Queue) -> list[_Job]:
        """Wait for work, and take all there is up to `max_together`; empty when closing and nothing is left."""
        jobs: list[_Job] = []
        try:
            while len(jobs) < self._max_together:
                job = queue.get(block=not jobs)
                if job is None:
                    if jobs:
                        queue.put(None)  # nothing can be queued behind it any more
                    break
                jobs.append(job)
        except Empty:
            pass
        return jobs

    def _results(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> Results:
        together = [job.work for job in jobs if not job.is_alone]
        try:
            results = iter(self._run(connection, together) if together else ())
            return [_attempt(connection, job.work) if job.is_alone else next(results) for job in jobs]
        except Exception as error:  # our bug: whoever waits must hear of it, and the thread must live
            log.exception("%s failed", self._name)
            return [error] * len(jobs)

    def _tell(self, say: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(say, *args)
        except RuntimeError:  # the loop is gone, and with it everyone who waited
            log.warning("%s: the event loop closed before the answer store did", self._name)

    # -- back on the loop ----------------------------------------------------------------------------------------

    def _done(self, queue: _Queue, jobs: Sequence[_Job], results: Results) -> None:
        if queue is self._queue:
            self._waiting -= len(jobs)
            if not self._waiting:
                self._idle.set()
        _settle([job.future for job in jobs], results)


def _settle(futures: Sequence[asyncio.Future[Any]], results: Results) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue  # whoever waited was cancelled; the work is done all the same
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def run_each(connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
    """Run each work by itself (a reader)."""
    return [_attempt(connection, work) for work in works]


def run_in_one_transaction(connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
    """Run all in one transaction: one commit for everyone who waits (a writer).

    When one of them fails, each gets a transaction of its own, so only the one at fault hears of it. When the
    transaction itself cannot be had or kept, all of them do.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return [cache_error(error)] * len(works)
    results: Results = []
    for work in works:
        results.append(_attempt(connection, work))
        if isinstance(results[-1], Exception):
            _roll_back(connection)
            return results if len(works) == 1 else [run_in_one_transaction(connection, [work])[0] for work in works]
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        return [cache_error(error)] * len(works)
    return results


class BrokenFile(CacheError):
    """The file is corrupt or gone: nothing will work until it is replaced."""


class SickFile(CacheError):
    """The disk refused it. When that lasts, a connection made anew may help: a file opened while it could only be read
    stays so."""


class FullDisk(CacheError):
    """There is no room on the disk, or in the file."""


def cache_error(error: Exception) -> CacheError:
    """SQLite's trouble as the store's."""
    code = _code(error)
    full = FullDisk if code == sqlite3.SQLITE_FULL else CacheError
    kind = BrokenFile if is_broken(error) else SickFile if code in _SICK else full
    return kind(f"answer store: {type(error).__name__}: {error}")


def is_broken(error: Exception) -> bool:
    """Whether `error` says that the file's content is wrong, not that it cannot be had now."""
    return _code(error) in _BROKEN


def _code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(error, sqlite3.Error) and code is not None else None


def _attempt(connection: sqlite3.Connection, work: Work) -> Any:
    try:
        return work(connection)
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        return cache_error(error)
    except Exception as error:
        return error


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # SQLite rolls back by itself when the disk is full or fails
        connection.rollback()
