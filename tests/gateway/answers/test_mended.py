"""Threads on files of our own: files that break or vanish while in use, and disks that hang."""

import asyncio
import resource
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from gateway.answers.base import CacheError
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.thread import ConnectionThread, run_each
from gateway.embedded.file import FileVectors
from gateway.semantic.labels import LabelStore
from tests.contracts.answers_contract import digest, entry_of
from tests.gateway.answers.test_sqlite import opened
from tests.gateway.answers.test_sqlite_trouble import overwrite, path_size, put_in_the_end
from tests.gateway.embedded.test_keeping import row
from tests.gateway.semantic.test_labels import LANE, label, put


async def until_it_works(attempt: Callable[[], Awaitable[object]]) -> None:
    """It failed once, and works in the end."""
    with pytest.raises(CacheError):
        await attempt()
    for _ in range(500):
        try:
            await attempt()
        except CacheError:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("it does not come back")


def break_it(path: Path) -> None:
    overwrite(path, 0, b"\xa5" * path_size(path))


@pytest.mark.parametrize("harm", [break_it, lambda path: shutil.rmtree(path.parent)], ids=["broken", "gone"])
async def test_labels_that_break_or_vanish_are_begun_anew(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    store = LabelStore(tmp_path / "data" / "labels.db", per_tenant=10)
    await store.open()
    await put(store, label(1))
    await store.close()
    await store.open()
    harm(tmp_path / "data" / "labels.db")
    await asyncio.sleep(1.1)  # it is looked for once a second

    await until_it_works(lambda: store.read(LANE))
    await put(store, label(2))
    assert [kept.label for kept in await store.read(LANE)] == [label(2)]
    await store.close()
    assert (tmp_path / "data" / "labels.db").exists()


async def test_kept_vectors_that_break_are_begun_anew(tmp_path: Path) -> None:
    file = FileVectors(tmp_path / "embeddings.db", budget_bytes=1 << 20)
    await file.open()
    await file.put([row(1)])
    await file.close()
    await file.open()
    break_it(tmp_path / "embeddings.db")

    await until_it_works(lambda: file.get([row(1).key]))
    await file.put([row(2)])
    assert await file.get([row(1).key, row(2).key]) == {row(2).key: row(2)}
    await file.close()


async def test_a_disk_that_hangs_costs_its_first_callers_their_patience_and_the_others_nothing(tmp_path: Path) -> None:
    connect, gate = partial(sqlite3.connect, tmp_path / "t.db"), threading.Event()
    thread = ConnectionThread("hung", connect, run_each, max_waiting=8, max_together=8, patience_s=0.05, close_s=0.05)
    await thread.open()
    with pytest.raises(CacheError, match=r"no answer within 0\.05 s"):
        await thread.call(lambda _: gate.wait(20))
    await asyncio.sleep(0.1)
    with pytest.raises(CacheError, match="hangs"):  # without a wait
        thread.submit(lambda _: None)

    await thread.close()  # which waits for nobody
    await thread.open()  # on a thread of its own
    assert await thread.call(lambda _: "works") == "works"
    gate.set()
    await asyncio.sleep(0.05)
    assert await thread.call(lambda _: "still") == "still"
    await thread.close()


async def test_what_another_process_holds_locked_is_refused_in_time_and_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    async with opened(path, busy_timeout_s=0.05) as answers:
        await answers.put(entry_of("a"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheError, match="locked"):
            await answers.put(entry_of("b"))
        assert await answers.get(digest("s"), digest("a")) == entry_of("a")
        other.rollback()
        other.close()
        await answers.put(entry_of("b"))

        assert answers.stats.failures == 1
        assert await answers.size() == 2


async def test_a_store_whose_folder_cannot_be_made_again_tries_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "data" / "answers.db"
    path.parent.mkdir()
    async with opened(path) as answers:
        await answers.put(entry_of("a"))
        shutil.rmtree(path.parent)
        path.parent.touch()  # a file is in its place
        with pytest.raises(CacheError):
            await answers.put(entry_of("b"))
        await asyncio.sleep(0.3)
        with pytest.raises(CacheError):
            await answers.get(digest("s"), digest("a"))
        path.parent.unlink()

        await put_in_the_end(answers, "later")
        assert await answers.get(digest("s"), digest("later")) == entry_of("later")


async def test_a_disk_that_refuses_writes_for_a_while_is_tried_with_a_new_connection(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    answers = SqliteAnswers(path, budget_bytes=None, sick_s=0.05)
    await answers.open()
    await answers.put(entry_of("a"))

    def read_only(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")  # as a file that was opened while its disk could only be read

    await answers._writer.submit(read_only, is_alone=True)
    for name in "bc":
        with pytest.raises(CacheError, match="readonly"):
            await answers.put(entry_of(name))
        await asyncio.sleep(0.1)

    await put_in_the_end(answers, "d")
    assert await answers.get(digest("s"), digest("a")) == entry_of("a")
    await answers.close()


async def test_stored_answers_are_read_while_the_disk_refuses_writes_and_new_ones_are_kept_at_once_when_it_does_not(
    tmp_path: Path,
) -> None:
    answers = SqliteAnswers(tmp_path / "answers.db", budget_bytes=None, sick_s=0.05)
    await answers.open()
    await answers.put(entry_of("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        for name in "bcd":
            with pytest.raises(CacheError, match="disk I/O error"):
                await answers.put(entry_of(name))
            await asyncio.sleep(0.1)
        assert await answers.get(digest("s"), digest("a")) == entry_of("a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    await answers.put(entry_of("e"))
    assert await answers.get(digest("s"), digest("e")) == entry_of("e")
    await answers.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False, capture_output=True
        )
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if made.returncode:
        pytest.skip(f"no disk of its own for a test: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_small_disk_that_was_full_takes_answers_again_and_old_ones_make_room(small_disk: Path) -> None:
    answers = SqliteAnswers(small_disk / "answers.db", budget_bytes=None)
    await answers.open()
    for name in range(8):
        await answers.put(entry_of(f"first {name}", text="t" * 2000))
    with suppress(OSError), (small_disk / "others").open("wb", buffering=0) as others:
        while others.write(bytes(4096)):
            pass
    ends = [
        await asyncio.gather(answers.put(entry_of(f"in vain {name}", text="t" * 20_000)), return_exceptions=True)
        for name in range(20)
    ]
    assert "full" in str(ends[-1])
    assert await answers.get(digest("s"), digest("first 7")) is not None
    (small_disk / "others").unlink()

    for name in range(100):  # more than the disk holds
        await answers.put(entry_of(f"{name}", text="t" * 50_000))
    assert await answers.get(digest("s"), digest("99")) == entry_of("99", text="t" * 50_000)
    assert len(answers.take_gone()) == answers.stats.evicted > 0
    await answers.close()
