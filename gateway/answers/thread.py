"""One thread that owns one SQLite connection, driven from an event loop.

    loop    call(work) --queue-->  thread   everything that waits is taken together and given to `run`
            future     <-- call_soon_threadsafe, once per batch

Only the loop touches `_waiting`; only the thread touches the connection. The queue is bounded: what does not fit is
refused at once.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gateway.answers.base import CacheError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
Results = list[Any]  # one per work: its value, or the exception it ended with
Run = Callable[[sqlite3.Connection, Sequence[Work]], Results]

_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    future: asyncio.Future[Any]
    is_alone: bool = False


class ConnectionThread:
    """Runs work on a connection of its own, off the event loop. Open it once, close it once."""

    def __init__(
        self, name: str, connect: Callable[[], sqlite3.Connection], run: Run, *, max_waiting: int, max_together: int
    ) -> None:
        self._name = name
        self._connect = connect
        self._run = run
        self._max_waiting = max_waiting
        self._max_together = max_together
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Start the thread and connect. Raises what `connect` raises."""
        self._loop = asyncio.get_running_loop()
        self._queue = SimpleQueue()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = self._loop.create_future()
        thread = threading.Thread(target=self._main, args=(opened, self._closed), name=self._name, daemon=True)
        thread.start()
        try:
            await opened
        except BaseException:
            self._queue.put(None)
            raise
        self._thread = thread

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection. Raises `CacheError` when closed or too much is waiting, and what it raises."""
        result: T = await self.submit(work)
        return result

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    def submit(self, work: Work, *, is_alone: bool = False) -> asyncio.Future[Any]:
        """Queue `work` without waiting for it; `is_alone`: not for `run`, which may have a transaction open. Raises
        `CacheError` when closed or too much is waiting."""
        if self._thread is None or self._loop is None:
            raise CacheError("the answer store is not open")
        if self._waiting >= self._max_waiting:
            raise CacheError(f"{self._waiting} operations wait for the answer store already")
        self._waiting += 1
        future = self._loop.create_future()
        self._queue.put(_Job(work, future, is_alone))
        return future

    async def close(self) -> None:
        """Run what is queued, then disconnect."""
        thread, self._thread = self._thread, None
        if thread is None or self._closed is None:
            return
        self._queue.put(None)
        await self._closed
        thread.join()  # it has nothing left to do but return

    # -- on the thread -------------------------------------------------------------------------------------------

    def _main(self, opened: asyncio.Future[None], closed: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            self._tell(_settle, [opened], [error])
            return
        self._tell(_settle, [opened], [None])
        try:
            while jobs := self._take():
                self._tell(self._done, jobs, self._results(connection, jobs))
        finally:
            connection.close()
            self._tell(_settle, [closed], [None])

    def _take(self) -> list[_Job]:
        """Wait for work, and take all there is up to `max_together`; empty when closing and nothing is left."""
        jobs: list[_Job] = []
        try:
            while len(jobs) < self._max_together:
                job = self._queue.get(block=not jobs)
                if job is None:
                    if jobs:
                        self._queue.put(None)  # nothing can be queued behind it any more
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

    def _done(self, jobs: Sequence[_Job], results: Results) -> None:
        self._waiting -= len(jobs)
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


def cache_error(error: Exception) -> CacheError:
    """SQLite's trouble as the store's."""
    kind = BrokenFile if is_broken(error) else CacheError
    return kind(f"answer store: {type(error).__name__}: {error}")


def is_broken(error: Exception) -> bool:
    """Whether `error` says that the file's content is wrong, not that it cannot be had now."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _BROKEN


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
