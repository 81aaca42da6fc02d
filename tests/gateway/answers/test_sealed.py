"""A sealed file keeps every promise of a plain one, and shows nobody a word."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.answers.base import Entry, Tally, Verdict
from gateway.answers.selection import Page, Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, key_of
from tests.contracts.answers_contract import *  # noqa: F403
from tests.contracts.answers_contract import KEEP_STALE_S, Clock, completion_of, digest, embedded, entry_of

ONE, TWO = KeyRing([key_of("one")]), KeyRing([key_of("two")])
MARKS = (b"wombat", b"marsupial", b"herbivore", b"zoology", b"burrows", b"grumpily")
VECTOR = b"\x11\x22\x33\x44wombatvector"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def answers(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteAnswers]:
    async with opened(tmp_path / "a.db", ONE, clock) as store:
        yield store


@asynccontextmanager
async def opened(
    path: Path, seal: Seal, clock: Clock | None = None, look_s: float = 300.0
) -> AsyncIterator[SqliteAnswers]:
    store = SqliteAnswers(
        path, budget_bytes=None, keep_stale_s=KEEP_STALE_S, now=clock or Clock(), seal=seal, look_s=look_s
    )
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def telling() -> Entry:
    """An entry with a word to look for in every field that has words."""
    return replace(
        entry_of("t"),
        question="what is a wombat?",
        canonical=b'{"messages":["a marsupial"]}',
        completion=completion_of("a herbivore"),
        tags=("zoology",),
        namespace="burrows",
        embedder="mini@1",
        vector=VECTOR,
    )


async def fill(path: Path, seal: Seal) -> Entry:
    async with opened(path, seal) as answers:
        await answers.put(telling())
        await answers.judge(telling(), Verdict("r", is_good=True, comment="said grumpily", at_s=1.0))
        found = await answers.by_id(digest("s"), "e_t")
        assert found is not None
        return found


def words_in(folder: Path) -> set[bytes]:
    raw = b"".join(path.read_bytes() for path in folder.iterdir())
    return {mark for mark in MARKS if mark in raw}


async def test_no_word_and_no_vector_lies_in_the_file(tmp_path: Path) -> None:
    assert replace(await fill(tmp_path / "a.db", ONE), good=0) == telling()
    assert words_in(tmp_path) == set()


async def test_everything_is_found_by_the_words_it_has(tmp_path: Path) -> None:
    await fill(tmp_path / "a.db", ONE)

    async with opened(tmp_path / "a.db", ONE) as answers:
        for selection in (
            Selection(tag="zoology"),
            Selection(namespace="burrows"),
            Selection(text="A Herbivore"),
            Selection(text="marsupial"),
            Selection(canonical=telling().canonical),
        ):
            (listed,) = await answers.select(selection, Page())
            assert (listed.question, listed.tags, listed.namespace) == ("what is a wombat?", ("zoology",), "burrows")
        assert await answers.count(Selection(text="carnivore")) == await answers.count(Selection(tag="zoo")) == 0
        assert [row.vector for row in await embedded(answers, "mini@1")] == [VECTOR]
        assert [said.comment for said in await answers.verdicts(digest("s"), "e_t")] == ["said grumpily"]


@pytest.mark.parametrize(("before", "after"), [(NO_SEAL, ONE), (ONE, KeyRing([*TWO.keys, *ONE.keys]))])
async def test_what_was_kept_before_comes_under_the_new_key_and_leaves_no_page_behind(
    tmp_path: Path, before: Seal, after: Seal, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    entry = await fill(path, before)

    with caplog.at_level(logging.INFO):
        async with opened(path, after) as answers:
            assert answers._resealing is not None
            await answers._resealing
            assert await answers.by_id(digest("s"), "e_t") == entry
            assert (answers.stats.resealed, answers.stats.unopened) == (1, 0)
            assert words_in(tmp_path) == set()
    assert "1 stored answers are sealed now" in caplog.text
    async with opened(path, KeyRing([after.keys[0]])) as answers:  # type: ignore[attr-defined]
        assert answers._resealing is None  # the file says whose it is
        assert await answers.by_id(digest("s"), "e_t") == entry
        assert [said.comment for said in await answers.verdicts(digest("s"), "e_t")] == ["said grumpily"]


@pytest.mark.parametrize("other", [TWO, NO_SEAL])
async def test_without_its_key_an_entry_is_a_miss_and_is_there_again_with_it(
    tmp_path: Path, other: Seal, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    entry = await fill(path, ONE)

    async with opened(path, other) as answers:
        assert await answers.get(entry.scope, entry.exact) is None
        assert await answers.owned("", "e_t") is None
        assert await embedded(answers, "mini@1") == []
        assert await answers.requests(digest("s"), 5) == []
        (listed,) = await answers.select(Selection(), Page())
        assert (listed.id, listed.question, listed.tags) == ("e_t", None, ())
        assert answers._resealing is not None
        await answers._resealing
        assert answers.stats.unopened == 1
    async with opened(path, other) as answers:
        assert answers._resealing is not None  # it is under no key as long as something does not open
    assert "1 stored answers are sealed under a key that is not given" in caplog.text
    async with opened(path, ONE) as answers:
        assert await answers.get(entry.scope, entry.exact) == entry


async def test_what_another_gateway_still_writes_otherwise_is_sealed_too_now_and_at_the_next_start(
    tmp_path: Path,
) -> None:
    path, both = tmp_path / "a.db", KeyRing([*ONE.keys, *TWO.keys])
    async with opened(path, both, look_s=0.05) as sealing, opened(path, NO_SEAL) as plain:
        await plain.put(telling())
        async with asyncio.timeout(10):
            while not sealing.stats.resealed or words_in(tmp_path):  # noqa: ASYNC110 - of other threads
                await asyncio.sleep(0.01)
    async with opened(path, TWO) as older, opened(path, NO_SEAL) as plain:
        await older.put(replace(entry_of("older"), question="older"))
        await plain.put(replace(telling(), question="later wombat"))
    async with opened(path, both) as answers:
        assert answers._resealing is not None
        await answers._resealing
        assert words_in(tmp_path) == set()
    async with opened(path, ONE) as answers:
        assert answers._resealing is None
        assert {row.question for row in await answers.select(Selection(), Page())} == {"older", "later wombat"}


async def test_no_comment_lies_in_plain_beside_a_sealed_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path, ONE) as answers, opened(path, NO_SEAL) as before:
        await answers.put(telling())
        tally = await before.judge(telling(), Verdict("r", is_good=True, comment="said grumpily", at_s=1.0))

        assert tally == Tally(1, 0)
        assert [said.comment for said in await answers.verdicts(digest("s"), "e_t")] == [""]
        assert words_in(tmp_path) == set()


@pytest.mark.parametrize("said", ["tenant = 'theirs'", "model = 'n'", "exact = compat", "created_s = 1.0"])
async def test_a_row_that_was_changed_beside_its_seal_is_a_miss(tmp_path: Path, said: str) -> None:
    path = tmp_path / "a.db"
    await fill(path, ONE)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE entries SET {said}")  # noqa: S608
        connection.commit()

    async with opened(path, ONE) as answers:
        assert await answers.by_id(digest("s"), "e_t") is None
        assert await answers.owned("theirs", "e_t") is None
        assert answers.stats.broken_rows == 1


async def test_a_row_that_broke_in_plain_is_not_vouched_for_by_a_seal(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await fill(path, NO_SEAL)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET canonical = CAST(canonical || ' ' AS BLOB)")
        connection.commit()

    async with opened(path, ONE) as answers:
        assert answers._resealing is not None
        await answers._resealing
        assert await answers.size() == 0


@pytest.mark.parametrize("column", ["about", "words", "vector"])
async def test_words_that_were_moved_to_another_entry_are_a_miss(tmp_path: Path, column: str) -> None:
    path, mine, yours = tmp_path / "a.db", entry_of("mine"), replace(telling(), scope=digest("other tenant"))
    async with opened(path, ONE) as answers:
        await answers.put(replace(mine, embedder="mini@1", vector=VECTOR))
        await answers.put(yours)
    with closing(sqlite3.connect(path)) as connection:
        moved = f"UPDATE entries SET {column} = (SELECT {column} FROM entries WHERE id = 'e_t') WHERE id = 'e_mine'"  # noqa: S608
        connection.execute(moved)
        connection.commit()

    async with opened(path, ONE) as answers:
        assert await answers.get(mine.scope, mine.exact) is None
        assert await answers.get(yours.scope, yours.exact) == yours
        assert answers.stats.broken_rows == 1
