"""Where vectors are kept: budgets hold, a restart forgets nothing, and a file that is broken costs no request."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.answers.base import CacheError
from gateway.answers.selection import Selection
from gateway.embedded.file import FileVectors
from gateway.embedded.kept import Kept, is_meant
from gateway.embedded.memory import MemoryVectors
from gateway.embedded.vector import Vector

ROW = Kept(b"k" * 32, Vector("f", b"\0" * 400), 3, "t", "m", "", "r", created_s=1000.0)


def row(number: int, **changes: object) -> Kept:
    return replace(ROW, key=number.to_bytes(32, "big"), **changes)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> AsyncIterator[FileVectors]:
    opened = FileVectors(tmp_path / "data" / "embeddings.db", budget_bytes=20 * ROW.size_bytes)
    await opened.open()
    yield opened
    await opened.close()


async def test_what_was_kept_is_there_after_a_restart(file: FileVectors, tmp_path: Path) -> None:
    rows = [row(1, tags=("a", "b")), row(2, vector=Vector("s", b"AQI="), expires_s=time.time() + 60)]
    await file.put(rows)
    await file.close()
    again = FileVectors(tmp_path / "data" / "embeddings.db", budget_bytes=1 << 20)
    await again.open()

    assert await again.get([one.key for one in rows] + [b"x"]) == {one.key: one for one in rows}
    assert (again.rows, again.size_bytes) == (2, sum(one.size_bytes for one in rows))
    assert (tmp_path / "data" / "embeddings.db").stat().st_mode & 0o077 == 0
    await again.close()


async def test_a_file_stays_under_its_budget_and_what_ended_is_gone(file: FileVectors) -> None:
    await file.put([row(0, expires_s=1.0)])
    for number in range(1, 60):
        await file.put([row(number)])
    kept = await file.get([row(number).key for number in range(60)])

    assert file.size_bytes == sum(one.size_bytes for one in kept.values()) <= 20 * ROW.size_bytes
    assert row(59).key in kept
    assert row(0).key not in kept


async def test_a_key_that_is_written_again_counts_once(file: FileVectors) -> None:
    await file.put([row(1), row(1, num_tokens=7), row(1, num_tokens=9)])

    assert file.rows == 1
    assert (await file.get([row(1).key]))[row(1).key].num_tokens == 9


SELECTIONS = [
    Selection(),
    Selection(tenant="t"),
    Selection(model="other"),
    Selection(tag="a"),
    Selection(tag="a%"),
    Selection(before_s=1500.0, namespace=""),
    Selection(text="anything"),
    Selection(id="e_1"),
]


@pytest.mark.parametrize("selection", SELECTIONS)
async def test_memory_and_file_mean_the_same_by_a_selection(file: FileVectors, selection: Selection) -> None:
    rows = [row(1, tags=("a",)), row(2, model="other"), row(3, created_s=2000.0, tenant="u"), row(4, tags=("ab",))]
    memory = MemoryVectors(1 << 20)
    memory.put(rows)
    await file.put(rows)
    wanted = sum(is_meant(selection, one) for one in rows)

    assert (memory.count(selection), await file.count(selection)) == (wanted, wanted)
    assert (memory.remove(selection), await file.remove(selection)) == (wanted, wanted)
    assert (len(memory), file.rows) == (4 - wanted, 4 - wanted)


def test_memory_forgets_what_was_used_longest_ago() -> None:
    memory = MemoryVectors(3 * ROW.size_bytes)
    memory.put([row(1), row(2), row(3)])
    memory.get([row(1).key])
    memory.put([row(4)])

    assert set(memory.get(row(number).key for number in range(5))) == {row(number).key for number in (1, 3, 4)}
    assert memory.size_bytes == 3 * ROW.size_bytes


async def test_a_corrupt_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.db"
    path.write_bytes(b"no database at all, but long enough to be read as one" * 40)
    file = FileVectors(path, 1 << 20)
    await file.open()
    await file.put([ROW])

    assert await file.get([ROW.key]) == {ROW.key: ROW}
    assert list(tmp_path.glob("embeddings.db.corrupt-*"))  # noqa: ASYNC240
    await file.close()


async def test_a_file_that_cannot_be_is_an_error_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = FileVectors(tmp_path / "file" / "embeddings.db", 1 << 20)

    with pytest.raises(CacheError):
        await file.open()
    with pytest.raises(CacheError):
        await file.get([ROW.key])


@pytest.mark.parametrize("said", ["tags = '{'", "data = x'00'", "code = 'q'", "tags = '5'"])
async def test_a_row_that_broke_is_asked_for_again(file: FileVectors, tmp_path: Path, said: str) -> None:
    await file.put([row(1)])
    with closing(sqlite3.connect(tmp_path / "data" / "embeddings.db", isolation_level=None)) as connection:
        connection.execute(f"UPDATE vectors SET {said}")  # noqa: S608

    assert await file.get([row(1).key]) == {}
