"""What is removed leaves the disk soon, while the server runs: the file, and the log beside it."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from embeddings.control import Label
from gateway.answers import file
from gateway.answers.base import Verdict
from gateway.answers.purge import Purge
from gateway.answers.selection import Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.thread import ConnectionThread, run_each
from gateway.semantic.labels import Given, LabelStore
from gateway.semantic.rule import LaneKey
from tests.contracts.answers_contract import Clock, digest, entry_of

WORDS = b"quarterly severance"
ENTRY = replace(entry_of("a", text=f"about the {WORDS.decode()} " * 500), question=f"what of {WORDS.decode()}?")

Removal = Callable[[SqliteAnswers], Awaitable[object]]


def on_disk(folder: Path) -> bool:
    return any(WORDS in path.read_bytes() for path in folder.iterdir())


async def leave(folder: Path) -> None:
    """Wait until the words are gone."""
    async with asyncio.timeout(8):
        while on_disk(folder):  # noqa: ASYNC110 - nobody tells when
            await asyncio.sleep(0.05)


async def twice_bad(answers: SqliteAnswers) -> None:
    for source in ("r1", "r2"):
        await answers.judge(ENTRY, Verdict(source, False, "", 1.0))


REMOVALS: dict[str, Removal] = {
    "by id": lambda answers: answers.remove(digest("s"), "e_a"),
    "by selection": lambda answers: answers.remove_all(Selection(text="severance")),
    "by users": twice_bad,
}


@pytest.mark.parametrize("name", REMOVALS)
async def test_the_words_of_a_removed_answer_leave_the_disk_while_the_store_is_open(tmp_path: Path, name: str) -> None:
    answers = SqliteAnswers(tmp_path / "answers.db", budget_bytes=None)
    await answers.open()
    for other in "bcd":
        await answers.put(entry_of(other, text="something else " * 300))
    await answers.put(ENTRY)
    assert on_disk(tmp_path)

    await REMOVALS[name](answers)
    await leave(tmp_path)

    assert await answers.size() == 3
    await answers.close()


async def test_the_words_of_an_answer_that_ended_leave_the_disk_when_the_index_has_heard_of_it(tmp_path: Path) -> None:
    clock = Clock()
    answers = SqliteAnswers(tmp_path / "answers.db", budget_bytes=None, keep_stale_s=0.0, now=clock)
    await answers.open()
    await answers.put(replace(ENTRY, expires_s=clock() + 60))
    clock.now_s += 120
    await answers.put(entry_of("b"))
    assert [one.id for one in answers.take_gone()] == ["e_a"]
    await leave(tmp_path)
    await answers.close()


async def test_who_reads_the_log_meanwhile_only_delays_it(tmp_path: Path) -> None:
    answers = SqliteAnswers(tmp_path / "answers.db", budget_bytes=None)
    await answers.open()
    await answers.put(ENTRY)
    with closing(sqlite3.connect(tmp_path / "answers.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        await answers.remove(ENTRY.scope, ENTRY.id)
        await asyncio.sleep(0.7)
        await answers.put(entry_of("b"))  # nobody waits for it
        assert on_disk(tmp_path)
        reader.execute("COMMIT")
    await leave(tmp_path)
    await answers.close()


async def test_a_queue_that_is_full_only_delays_it(tmp_path: Path) -> None:
    connect = partial(file.connect, tmp_path / "a.db", 1.0)
    thread = ConnectionThread("few", connect, run_each, max_waiting=1, max_together=1)
    await thread.open()
    await thread.call(lambda connection: connection.execute("CREATE TABLE removed (words TEXT)"))
    go_on = threading.Event()
    purge = Purge(thread, after_s=0.02)
    purge.soon()
    busy = thread.submit(lambda _: go_on.wait(5))
    await asyncio.sleep(0.05)  # it found no room
    go_on.set()
    await busy

    async with asyncio.timeout(5):
        while (tmp_path / "a.db-wal").stat().st_size:  # noqa: ASYNC110 - nobody tells when
            await asyncio.sleep(0.02)
    await thread.close()


async def test_the_words_of_labels_leave_the_disk_while_their_file_is_open(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.db", per_tenant=100)
    await store.open()
    label = Label(f"what of {WORDS.decode()}?", "stored", "e_1", True, "shadow", 0.5, (1.0,), True)
    for number in range(20):
        await store.put(Given(LaneKey("t", "default"), b"s" * 32, replace(label, at_s=float(number))))
    assert on_disk(tmp_path)

    await store.forget(b"s" * 32, ["e_1"])
    await leave(tmp_path)
    await store.close()
