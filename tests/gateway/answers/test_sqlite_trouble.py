"""Broken files, full disks, killed processes: the store goes on, or says why it cannot."""

import asyncio
import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.answers.base import CacheError, Tally, Verdict
from gateway.answers.file import connect
from gateway.answers.schema import MIGRATIONS, migrate
from gateway.answers.selection import Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.table import row_of
from tests.contracts.answers_contract import digest, entry_of
from tests.gateway.answers.test_sqlite import opened, query

FIRST = (  # the columns of the first version
    *("scope", "exact", "compat", "id", "created_s", "expires_s", "elapsed_s", "size_bytes", "hits", "worth"),
    *("priority", "model", "tags", "embedder", "vector", "question", "canonical", "completion"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


async def fill(path: Path, count: int = 200) -> None:
    async with opened(path) as answers:
        await asyncio.gather(*(answers.put(entry_of(f"{n}", text="t" * 2000)) for n in range(count)))


def overwrite(path: Path, offset: int, junk: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(file, junk, offset)
    os.close(file)


def path_size(path: Path) -> int:
    return path.stat().st_size


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


@pytest.mark.parametrize("offset", [0, 100, 4096, 3 * 4096])
async def test_a_corrupt_file_is_set_aside_and_a_fresh_one_started(path: Path, offset: int) -> None:
    await fill(path)
    overwrite(path, offset, b"\xa5" * 4096)

    async with opened(path) as answers:
        assert answers.stats.corrupt_files == 1
        assert await answers.size() == answers.stats.salvaged
        await answers.put(entry_of())
        assert await answers.get(digest("s"), digest("a")) == entry_of()
    asides = [file for file in path.parent.iterdir() if ".corrupt-" in file.name]
    assert len(asides) == 1
    assert b"\xa5" * 4096 in asides[0].read_bytes()


async def test_a_file_cut_short_is_set_aside(path: Path) -> None:
    await fill(path)
    cut_in_half(path)

    async with opened(path) as answers:
        assert answers.stats.corrupt_files == 1
        await answers.put(entry_of())


async def test_something_else_than_a_database_is_set_aside(path: Path) -> None:
    overwrite(path, 0, b"these are not the answers you are looking for\n" * 100)

    async with opened(path) as answers:
        assert answers.stats.corrupt_files == 1


@pytest.mark.parametrize("column", ["completion = x'00ff'", "completion = x''", "tags = '{'", "tags = '7'"])
async def test_a_row_that_cannot_be_read_is_a_miss_and_is_deleted(path: Path, column: str) -> None:
    async with opened(path) as answers:
        await answers.put(entry_of("a"))
        await answers.put(entry_of("b"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE entries SET {column} WHERE id = 'e_a'")  # noqa: S608

    async with opened(path) as answers:
        assert await answers.get(digest("s"), digest("a")) is None
        assert answers.stats.broken_rows == 1
        assert await answers.size() == 1
        assert await answers.by_id(digest("s"), "e_b") == entry_of("b")


async def put_in_the_end(answers: SqliteAnswers, name: str) -> None:
    """Put until it works: the store replaces its file behind the calls that fail."""
    for _ in range(200):
        try:
            return await answers.put(entry_of(name))
        except CacheError:
            await asyncio.sleep(0.01)
    raise AssertionError("the store did not come back")


async def test_a_file_that_breaks_while_in_use_is_set_aside(path: Path) -> None:
    await fill(path)
    async with opened(path) as answers:
        overwrite(path, 4096, b"\xa5" * (path_size(path) - 4096))
        with pytest.raises(CacheError):
            await answers.get(digest("s"), digest("7"))
        await put_in_the_end(answers, "later")

        assert await answers.get(digest("s"), digest("later")) == entry_of("later")
        assert answers.stats.corrupt_files == 1
        assert await answers.size() == 1


async def test_a_file_that_somebody_deletes_is_made_again(path: Path) -> None:
    await fill(path, 2)
    async with opened(path) as answers:
        await answers.put(entry_of("lost"))
        for file in list(path.parent.iterdir()):
            file.unlink()
        with pytest.raises(CacheError, match="deleted or replaced"):
            await answers.put(entry_of("refused"))
        await put_in_the_end(answers, "later")
        assert answers.stats.corrupt_files == 0

    assert query(path, "SELECT id FROM entries") == ("e_later",)


async def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    await fill(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    with pytest.raises(CacheError, match=f"has schema {len(MIGRATIONS) + 1}"):
        async with opened(path):
            pass
    assert query(path, "SELECT count(*) FROM entries") == (1,)
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        f"{path.name}-generation",
        f"{path.name}-marked",
    }


async def test_an_older_schema_is_migrated_with_its_rows(path: Path) -> None:
    await fill(path, 3)
    with closing(connect(path, 1.0)) as connection:
        migrate(connection, (*MIGRATIONS, "ALTER TABLE entries ADD COLUMN colour TEXT DEFAULT 'red';"))
        migrate(connection, (*MIGRATIONS, "this is not run again;"))

    assert query(path, "SELECT count(*), max(colour) FROM entries") == (3, "red")
    assert query(path, "PRAGMA user_version") == (len(MIGRATIONS) + 1,)


async def test_a_file_of_the_first_version_opens_and_works(path: Path) -> None:
    old = [replace(entry_of(name), question=None) for name in "abc"]
    with closing(connect(path, 1.0)) as connection:
        migrate(connection, MIGRATIONS[:1])
        for entry in old:
            row = {**row_of(entry), "hits": 3, "priority": 0.001}
            connection.execute(
                f"INSERT INTO entries ({', '.join(FIRST)}) VALUES ({', '.join(f':{name}' for name in FIRST)})",  # noqa: S608
                row,
            )

    size = query(path, "SELECT max(size_bytes) FROM entries")[0]
    async with opened(path, tenant_bytes=2 * size, policy="lru") as answers:  # nobody pays for what is nobody's
        assert [await answers.get(entry.scope, entry.exact) for entry in old] == old
        assert await answers.size_bytes() == query(path, "SELECT sum(size_bytes) FROM entries")[0]
        assert await answers.count(Selection(tenant="mine")) == 0
        mine = replace(old[0], tenant="mine", created_s=old[0].created_s + 1)
        await answers.put(mine)  # answered anew: now it is known whose it is
        assert await answers.owned("mine", mine.id) == mine
        assert (await answers.judge(old[1], Verdict("one", is_good=False, comment="", at_s=1.0))) == Tally(0, 1)
        assert len(await answers.remove_all(Selection(model="m"))) == 3
    assert query(path, "SELECT entries, size_bytes FROM totals") == (0, 0)
    assert query(path, "SELECT count(*) FROM tenants") == (0,)


async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    await fill(path, 1)
    with closing(connect(path, 1.0)) as connection, pytest.raises(sqlite3.OperationalError):
        migrate(connection, (*MIGRATIONS, "ALTER TABLE entries ADD COLUMN colour TEXT;\nNONSENSE;"))

    async with opened(path) as answers:
        assert await answers.size() == 1


async def test_the_database_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (id)")

    with pytest.raises(CacheError, match="something else"):
        await SqliteAnswers(path, budget_bytes=None).open()
    assert query(path, "SELECT name FROM sqlite_schema") == ("photos",)


async def test_no_place_for_a_file_is_an_error_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "answers.db"):
        with pytest.raises(CacheError):
            await SqliteAnswers(path, budget_bytes=None).open()


async def test_a_full_disk_fails_a_put_and_later_ones_work(path: Path) -> None:
    async with opened(path) as answers:
        await answers.put(entry_of("a"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            with pytest.raises(CacheError):
                await answers.put(entry_of("b", text="x" * 3_000_000))
            assert await answers.get(digest("s"), digest("a")) == entry_of("a")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        await answers.put(entry_of("b", text="x" * 3_000_000))
        assert await answers.size() == 2
    assert query(path, "PRAGMA integrity_check") == ("ok",)


async def start_writer(path: Path, prefix: str, count: int) -> asyncio.subprocess.Process:
    root = Path(__file__).parents[3]
    arguments = ("-m", "tests.gateway.answers.writer", str(path), prefix, str(count))
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=root, stdout=asyncio.subprocess.PIPE)


@pytest.mark.parametrize("after", [1, 150, 700])
async def test_a_killed_process_loses_no_put_that_returned(path: Path, after: int) -> None:
    writer = await start_writer(path, "n", 1_000_000)
    assert writer.stdout is not None
    said = [(await writer.stdout.readline()).decode().strip() for _ in range(after)]
    writer.send_signal(signal.SIGKILL)
    said += [line for line in (await writer.stdout.read()).decode().split("\n")[:-1] if line]
    await writer.wait()

    async with opened(path) as answers:
        assert answers.stats.corrupt_files == 0
        for name in said:
            assert await answers.get(digest("s"), digest(name)) == entry_of(name, text=name * 50)
        assert await answers.size() >= len(said) >= after
    assert query(path, "PRAGMA integrity_check") == ("ok",)


async def test_two_processes_on_one_file_lose_nothing(path: Path) -> None:
    writers = await asyncio.gather(start_writer(path, "x", 300), start_writer(path, "y", 300))
    outputs = [(await writer.communicate())[0].decode().split() for writer in writers]

    assert [len(output) for output in outputs] == [300, 300]
    assert query(path, "SELECT count(*) FROM entries") == (600,)
    assert query(path, "SELECT entries FROM totals") == (600,)
    assert query(path, "PRAGMA integrity_check") == ("ok",)
