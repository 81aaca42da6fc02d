"""The thread with a connection: one transaction for what waits, and only the one at fault hears of its fault."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.answers.base import CacheError
from gateway.answers.thread import ConnectionThread, run_in_one_transaction

INSERT = "INSERT INTO t VALUES (?)"


@pytest.fixture
async def thread(tmp_path: Path) -> AsyncIterator[ConnectionThread]:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(tmp_path / "t.db", isolation_level=None, timeout=0.05)
        connection.execute("CREATE TABLE t (n INTEGER UNIQUE)")
        return connection

    thread = ConnectionThread("test", connect, run_in_one_transaction, max_waiting=8, max_together=8)
    await thread.open()
    yield thread
    await thread.close()


def insert(number: int) -> Callable[[sqlite3.Connection], int]:
    return lambda connection: connection.execute(INSERT, (number,)).rowcount


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT n FROM t ORDER BY n")]


async def test_one_bad_work_fails_alone(thread: ConnectionThread) -> None:
    works = [1, 2, 2, 3]
    results = await asyncio.gather(*(thread.call(insert(n)) for n in works), return_exceptions=True)

    assert [isinstance(result, CacheError) for result in results] == [False, False, True, False]
    assert await thread.call(numbers) == [1, 2, 3]


async def test_a_bug_reaches_whoever_waits_and_the_thread_lives(thread: ConnectionThread) -> None:
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda _: 1 // 0)

    assert await thread.call(numbers) == []


async def test_too_much_waiting_is_refused_at_once(thread: ConnectionThread) -> None:
    gate = threading.Event()
    held = [thread.submit(lambda _: gate.wait(10)) for _ in range(8)]

    with pytest.raises(CacheError, match="8 operations wait"):
        thread.submit(numbers)
    gate.set()
    assert await asyncio.gather(*held) == [True] * 8
    assert await thread.call(numbers) == []


async def test_a_waiter_that_leaves_does_not_disturb_the_others(thread: ConnectionThread) -> None:
    gate = threading.Event()
    held = thread.submit(lambda _: gate.wait(10))
    leaving = asyncio.create_task(thread.call(insert(1)))
    staying = asyncio.create_task(thread.call(insert(2)))
    await asyncio.sleep(0)
    leaving.cancel()
    gate.set()

    assert await staying == 1
    assert await held
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await thread.call(numbers) == [1, 2]


async def test_closing_runs_what_is_queued(thread: ConnectionThread, tmp_path: Path) -> None:
    queued = [thread.submit(insert(n)) for n in range(5)]
    await thread.close()

    assert [await future for future in queued] == [1] * 5
    with pytest.raises(CacheError, match="not open"):
        await thread.call(numbers)


async def test_a_connection_that_cannot_be_made_is_heard_of() -> None:
    def refuse() -> sqlite3.Connection:
        raise CacheError("no")

    thread = ConnectionThread("test", refuse, run_in_one_transaction, max_waiting=8, max_together=8)
    with pytest.raises(CacheError, match="no"):
        await thread.open()
    await thread.close()
