"""What is taken over of a corrupt answers file is what was written, and of nobody else."""

import asyncio
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gateway.answers.base import CacheError
from gateway.answers.marks import MARKED, Marks
from gateway.answers.sqlite import SqliteAnswers
from tests.contracts.answers_contract import digest, entry_of
from tests.gateway.answers.test_sqlite import opened
from tests.gateway.answers.test_sqlite_trouble import fill, overwrite, path_size, put_in_the_end

PAGE = 4096
COUNT = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


async def found(answers: SqliteAnswers) -> int:
    """How many of `fill` are there; each as it was written."""
    count = 0
    for number in range(COUNT):
        if (entry := await answers.get(digest("s"), digest(f"{number}"))) is not None:
            assert replace(entry, vector=None, embedder=None) == replace(
                entry_of(f"{number}", text="t" * 2000), vector=None, embedder=None
            )
            count += 1
    return count


async def test_most_answers_of_a_file_with_a_broken_page_are_taken_over(path: Path) -> None:
    await fill(path, COUNT)
    overwrite(path, 60 * PAGE, b"\xa5" * PAGE)

    async with opened(path) as answers:
        assert answers.stats.corrupt_files == 1
        assert COUNT / 2 < answers.stats.salvaged == await answers.size() == await found(answers) < COUNT


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_breaks_nothing_is_taken_over_that_was_not_written(path: Path, seed: int) -> None:
    await fill(path, COUNT)
    draws, pages = Random(seed), path_size(path) // PAGE
    for _ in range(8):  # noise, and pages of other rows: a write that went to a wrong place
        junk = draws.randbytes(PAGE)
        if draws.random() < 0.5:
            with path.open("rb") as file:
                file.seek(draws.randrange(1, pages) * PAGE)
                junk = file.read(PAGE)
        overwrite(path, draws.randrange(1, pages) * PAGE, junk)

    async with opened(path) as answers:
        assert await found(answers) <= await answers.size()
        await put_in_the_end(answers, "later")
        assert await answers.get(digest("s"), digest("later")) == entry_of("later")


@pytest.mark.parametrize("seed", range(2))
async def test_a_large_file_is_not_read_through_and_serves_only_what_was_written(path: Path, seed: int) -> None:
    await fill(path, COUNT)
    draws, pages = Random(seed), path_size(path) // PAGE
    for _ in range(8):
        overwrite(path, draws.randrange(1, pages) * PAGE, draws.randbytes(PAGE))

    async with opened(path, read_bytes=0) as answers:
        was_trusted = answers.stats.corrupt_files == 0
        for _ in range(3):
            with suppress(CacheError):
                await found(answers)  # what is broken is met here
        await put_in_the_end(answers, "later")
        assert was_trusted
        assert await answers.get(digest("s"), digest("later")) == entry_of("later")


async def test_what_breaks_while_in_use_is_taken_over_too(path: Path) -> None:
    await fill(path, COUNT)
    async with opened(path) as answers:
        overwrite(path, 60 * PAGE, b"\xa5" * PAGE * 5)
        with pytest.raises(CacheError):
            await found(answers)
        for _ in range(500):
            if answers.stats.corrupt_files:
                break
            await asyncio.sleep(0.01)

        assert answers.stats.salvaged > COUNT / 2
        await put_in_the_end(answers, "later")


async def test_a_letter_that_changed_on_the_disk_makes_a_miss(path: Path) -> None:
    async with opened(path) as answers:
        await answers.put(entry_of("a", text="the answer is yes"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE entries SET completion = CAST(replace(completion, 'yes', 'not') AS BLOB)")

    async with opened(path) as answers:
        assert await answers.get(digest("s"), digest("a")) is None
        assert answers.stats.broken_rows == 1


@pytest.mark.parametrize("value", ["'x'", "NULL", "x'ff'"])
def test_a_cell_of_another_type_makes_another_mark_and_no_error(value: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        (broken,) = connection.execute(f"SELECT {value}").fetchone()
    row: dict[str, object] = dict.fromkeys(MARKED, "said")
    marks = Marks(b"secret")

    assert marks.of({**row, "created_s": broken}) != marks.of({**row, "created_s": 1.5})
