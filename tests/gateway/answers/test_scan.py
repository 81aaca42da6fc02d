"""Reading every row of the file: in pages, behind the lookups, and no row that need not be read."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.answers import table
from gateway.answers.base import Entry
from gateway.answers.sqlite import PAGE_ROWS, SqliteAnswers
from tests.contracts.answers_contract import digest, embedded, entry_of, unembedded

NUM = 2 * PAGE_ROWS + 100


def row(number: int) -> Entry:
    """Pairs of the same age; every seventh has no vector."""
    entry = entry_of(f"{number}", created_s=1000.0 + number // 2)
    return entry if number % 7 == 0 else replace(entry, embedder="mini@1", vector=b"1234")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteAnswers]:
    store = SqliteAnswers(tmp_path / "answers.db", budget_bytes=None)
    await store.open()
    await asyncio.gather(*(store.put(row(number)) for number in range(NUM)))
    yield store
    await store.close()


async def test_every_lookup_is_answered_while_every_row_is_read(store: SqliteAnswers) -> None:
    seen: list[str] = []

    async def scan() -> None:
        async for one in store.embedded("mini@1"):
            seen.append(one.id)  # noqa: PERF401 - looked at meanwhile

    scanning, places, number = asyncio.create_task(scan()), set(), 0
    while not scanning.done():
        assert await store.get(digest("s"), digest(f"{number % NUM}")) is not None
        places.add(len(seen))
        number += 1
    await scanning

    assert len(seen) == len(set(seen)) == sum(number % 7 > 0 for number in range(NUM))
    assert len(places) > NUM // PAGE_ROWS + 2  # pages ended for lookups
    assert store.stats.failures == 0


async def test_a_scan_that_hangs_holds_up_no_lookup(store: SqliteAnswers) -> None:
    gate = threading.Event()
    held = store._clerk.submit(lambda _: gate.wait(30))
    scanning = asyncio.create_task(embedded(store, "mini@1"))
    found = [await store.get(digest("s"), digest(f"{number}")) for number in range(200)]
    assert not scanning.done()
    gate.set()

    assert await held
    assert None not in found
    assert len(await scanning) == sum(number % 7 > 0 for number in range(NUM))
    assert store.stats.failures == 0


async def test_a_scan_comes_to_an_end_although_lookups_always_wait(store: SqliteAnswers) -> None:
    gate = threading.Event()
    held = store._reader.submit(lambda _: gate.wait(30))
    rows = await unembedded(store, "mini@1")
    assert store._reader.is_busy
    gate.set()

    assert await held
    assert {one.id for one in rows} == {f"e_{number}" for number in range(0, NUM, 7)}


@pytest.mark.parametrize("is_busy", [False, True])
async def test_pages_join_whole_wherever_they_end(store: SqliteAnswers, tmp_path: Path, is_busy: bool) -> None:
    sizes: dict[str, list[int]] = {}
    with closing(sqlite3.connect(tmp_path / "answers.db")) as connection:
        for embedder, read in (("mini@1", table.embedded_page), ("none", table.unembedded_page)):
            place: table.Place | None = table.BEGIN
            names: list[str] = []
            while place is not None:
                page, place = read(connection, embedder, place, 0.0, 100, gives_way=lambda: is_busy)
                names += [one.id for one in page]
                sizes.setdefault(embedder, []).append(len(page))
            assert len(names) == len(set(names)) == (NUM if embedder == "none" else NUM - (NUM + 6) // 7)
            ages = [int(name.removeprefix("e_")) // 2 for name in names]
            assert ages == sorted(ages)

    assert max(sizes["mini@1"]) == max(sizes["none"]) == (table.FEW_ROWS if is_busy else 100)


async def test_rows_that_have_a_vector_are_not_read_to_find_those_that_have_none(
    store: SqliteAnswers, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "answers.db")) as connection:
        before = page_of(connection, "mini@1")
        connection.execute("UPDATE entries SET question = CAST(x'ff' AS TEXT) WHERE embedder = 'mini@1'")
        with pytest.raises(sqlite3.OperationalError, match="decode"):
            page_of(connection, "none")  # who reads those rows has to hear of it
        after = page_of(connection, "mini@1")

    assert before == after == sum(number % 7 == 0 for number in range(200))


def page_of(connection: sqlite3.Connection, embedder: str) -> int:
    page, _ = table.unembedded_page(connection, embedder, table.BEGIN, 0.0, 200)
    return len(page)
