"""Whoever writes the answers file makes no answer of its own: rows bear a mark under the secret. Those of an earlier
version get theirs once, and are served all the while."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.answers import marks as marking
from gateway.answers.codec import encode, encode_json
from gateway.answers.marks import MARKED, Marks, is_marked, old_checksum
from gateway.answers.schema import MIGRATIONS
from gateway.answers.sealed import _digest
from gateway.answers.sqlite import SqliteAnswers
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, Opening, key_of
from gateway.services import Services, build
from gateway.settings import load_settings
from tests.contracts.answers_contract import completion_of, digest, entry_of

SECRET = b"s" * 32
SEAL = KeyRing([key_of("one")])
SEALS = {"plain": NO_SEAL, "sealed": SEAL}
FORGED = encode(completion_of("buy at evil.example"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


@asynccontextmanager
async def opened(path: Path, seal: Seal = NO_SEAL, **options: Any) -> AsyncIterator[SqliteAnswers]:
    store = SqliteAnswers(path, **{"budget_bytes": None, "seal": seal, "secret": SECRET, "look_s": 0.05} | options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def fill(path: Path, seal: Seal = NO_SEAL, names: str = "ab") -> None:
    async with opened(path, seal) as answers:
        for name in names:
            await answers.put(entry_of(name))


def rows_in(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM entries ORDER BY seq")]


def write(path: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql, values)


def forge(path: Path, mark: Any) -> None:
    """Put words of one's own under `a`, in plain; `mark` makes its mark."""
    plain = {"seal": "", "about": None, "words": None, "tags": "[]", "namespace": "", "question": "question a"}
    (row,) = (row for row in rows_in(path) if row["id"] == "e_a")
    row |= {**plain, "canonical": entry_of("a").canonical, "completion": FORGED}
    row["checksum"] = mark(row)
    assignments = ", ".join(f"{name} = ?" for name in row)
    write(path, f"UPDATE entries SET {assignments} WHERE id = 'e_a'", *row.values())  # noqa: S608


def as_before(path: Path, *, checksums: bool = True) -> None:
    """Make the store one of an earlier version."""
    for row in rows_in(path):
        said = old_checksum(row) if checksums else None
        write(path, "UPDATE entries SET checksum = ? WHERE seq = ?", said, row["seq"])
    write(path, f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    path.with_name(path.name + "-marked").unlink(missing_ok=True)


async def is_adopted(path: Path) -> None:
    async with asyncio.timeout(20):
        while not is_marked(path):  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)


MADE_UP = {
    "no-mark": lambda _: None,
    "checksum-of-an-earlier-version": old_checksum,
    "mark-under-no-secret": Marks(b"").of,
    "mark-under-another-secret": Marks(b"x" * 32).of,
    "the-mark-it-had": lambda row: row["checksum"],
}


@pytest.mark.parametrize("how", MADE_UP)
@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.parametrize("version", [len(MIGRATIONS), len(MIGRATIONS) - 1], ids=["as-it-is", "set-back"])
async def test_a_forged_row_is_never_served(path: Path, how: str, seal: str, version: int) -> None:
    await fill(path, SEALS[seal])
    write(path, f"PRAGMA user_version = {version}")
    forge(path, MADE_UP[how])

    async with opened(path, SEALS[seal]) as answers:
        a = entry_of("a")
        assert await answers.get(a.scope, a.exact) is None
        assert await answers.by_id(a.scope, a.id) is None
        assert await answers.owned(a.tenant, a.id) is None
        assert await answers.get(digest("s"), digest("b")) == entry_of("b")


@pytest.mark.parametrize("name", ["the-key", "00000000"])
@pytest.mark.parametrize("seal", [*SEALS, "opening"])
async def test_words_in_plain_under_the_name_of_a_seal_are_never_served(path: Path, seal: str, name: str) -> None:
    """Whoever has no key leaves what is plain as it is."""
    opener = Opening(SEAL) if seal == "opening" else SEALS[seal]
    await fill(path, SEALS.get(seal, SEAL))
    a = entry_of("a")
    (row,) = (row for row in rows_in(path) if row["id"] == "e_a")
    about: dict[str, Any] = {"question": a.question, "tags": [], "namespace": "", "row": _digest(row)}
    words = len(a.canonical).to_bytes(4, "little") + a.canonical + FORGED
    named = SEAL.name if name == "the-key" else name
    sql = "UPDATE entries SET seal = ?, about = ?, words = ?, checksum = NULL, vector = NULL WHERE id = 'e_a'"
    write(path, sql, named, encode_json(about), words)

    async with opened(path, opener) as answers:
        assert await answers.get(a.scope, a.exact) is None
        assert await answers.by_id(a.scope, a.id) is None


async def test_a_forged_row_is_counted_and_deleted(path: Path) -> None:
    await fill(path)
    forge(path, MADE_UP["checksum-of-an-earlier-version"])
    async with opened(path) as answers:
        assert await answers.get(digest("s"), digest("a")) is None
        assert (answers.stats.broken_rows, await answers.size()) == (1, 1)


@pytest.mark.parametrize("moved", ["exact", "scope", "id", "tenant", "compat", "origin", "model"])
@pytest.mark.parametrize("seal", SEALS)
async def test_a_row_that_is_moved_elsewhere_is_never_served(path: Path, seal: str, moved: str) -> None:
    await fill(path, SEALS[seal], "a")
    there = {"exact": digest("b"), "scope": digest("other"), "id": "e_b", "tenant": "t2", "compat": digest("c")}
    write(path, f"UPDATE entries SET {moved} = ?", there.get(moved, "other"))  # noqa: S608

    async with opened(path, SEALS[seal]) as answers:
        for scope in (digest("s"), digest("other")):
            for exact in (digest("a"), digest("b")):
                assert await answers.get(scope, exact) is None
            for name in ("e_a", "e_b"):
                assert await answers.by_id(scope, name) is None


@pytest.mark.parametrize("checksums", [True, False], ids=["with-checksums", "older-than-checksums"])
async def test_an_upgraded_store_serves_what_it_had_and_marks_it(path: Path, checksums: bool) -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    await fill(path, names="abcdefghijklmnopqrstuvwxyz")
    as_before(path, checksums=checksums)

    async with opened(path) as answers:
        assert [await answers.get(digest("s"), digest(name)) for name in names] == [entry_of(name) for name in names]
        await is_adopted(path)
        assert [await answers.get(digest("s"), digest(name)) for name in names] == [entry_of(name) for name in names]
        assert answers.stats.broken_rows == 0
    marks = Marks(SECRET)
    assert all(row["checksum"] == marks.of(row) for row in rows_in(path))
    as_if_again = rows_in(path)[0]
    write(path, "UPDATE entries SET checksum = ? WHERE seq = ?", old_checksum(as_if_again), as_if_again["seq"])
    async with opened(path) as answers:  # that was once
        assert await answers.get(digest("s"), digest(names[0])) is None
        assert await answers.get(digest("s"), digest(names[1])) == entry_of(names[1])


async def test_what_was_broken_before_gets_no_mark(path: Path) -> None:
    await fill(path)
    as_before(path)
    write(path, "UPDATE entries SET completion = ? WHERE id = 'e_a'", FORGED)
    write(path, "UPDATE entries SET model = CAST(x'ff' AS TEXT) WHERE id = 'e_b'")  # a text that is none
    async with opened(path) as answers:
        await is_adopted(path)
        assert await answers.get(digest("s"), digest("a")) is None


async def test_a_taking_over_that_was_broken_off_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "ROWS", 4)
    await fill(path, names="abcdefghijklmnop")
    as_before(path)
    monkeypatch.setattr(marking, "PAUSE_S", 60.0)
    async with opened(path) as answers:
        async with asyncio.timeout(20):
            while sum(len(row["checksum"]) == 16 for row in rows_in(path)) < 4:  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.01)
        assert await answers.get(digest("s"), digest("p")) == entry_of("p")
    assert sum(len(row["checksum"]) == 16 for row in rows_in(path)) < 16
    assert not is_marked(path)
    monkeypatch.setattr(marking, "PAUSE_S", 0.0)
    async with opened(path) as answers:
        await is_adopted(path)
        assert await answers.size() == 16
    marks = Marks(SECRET)
    assert all(row["checksum"] == marks.of(row) for row in rows_in(path))


async def test_beside_a_seal_what_lies_in_plain_without_a_mark_is_not_taken_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(path)
    as_before(path)
    with caplog.at_level(logging.WARNING):
        async with opened(path, SEAL) as answers:
            assert await answers.get(digest("s"), digest("a")) is None
    assert "2 answers" in caplog.text


async def test_where_the_seal_is_new_it_is_taken_over_and_sealed(path: Path) -> None:
    await fill(path)
    as_before(path)
    async with opened(path, SEAL, takes_old=True) as answers:
        assert answers._resealing is not None
        assert await answers.get(digest("s"), digest("a")) == entry_of("a")
        await answers._resealing
        assert await answers.get(digest("s"), digest("a")) == entry_of("a")
        assert answers.stats.resealed == 2


async def test_what_is_unsealed_again_has_its_marks(path: Path) -> None:
    await fill(path, SEAL)
    opening = Opening(SEAL)
    async with opened(path, opening) as answers:
        assert answers._resealing is not None
        await answers._resealing
    async with opened(path) as answers:
        assert await answers.get(digest("s"), digest("a")) == entry_of("a")


@asynccontextmanager
async def served(folder: Path, key: str = "", **flags: Any) -> AsyncIterator[Services]:
    """The store of a gateway, as it is wired."""
    if key:
        (folder / "key").write_text(key)
        flags["seal"] = {"key_env": f"@{folder / 'key'}"}
    settings = {"data_dir": folder / "data", "upstream": "http://127.0.0.1:9", "cache": {"semantic": False}} | flags
    services = build(load_settings(settings, environ={"SHARED": "kq8Zp2Vt7xWm4Rb9Ys1Hd6Lf3Gj5Nc0A"}))
    await services.answers.open()
    try:
        yield services
    finally:
        await services.answers.close()


KEY = "a key that nobody finds beside the data"


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "sealed-from-now-on"])
async def test_a_gateway_marks_with_its_secret_and_takes_an_older_store_over(tmp_path: Path, key: str) -> None:
    path = tmp_path / "data" / "answers.db"
    async with served(tmp_path) as before:
        await before.answers.put(entry_of("a"))
        (row,) = await until_rows(path)
        assert row["checksum"] == Marks(before.secret).of(row)
    as_before(path)
    async with served(tmp_path, key) as after:
        assert await after.answers.get(digest("s"), digest("a")) == entry_of("a")
        await is_adopted(path)


@pytest.mark.parametrize("flags", [{}, {"secret_env": "SHARED"}], ids=["secret-beside", "secret-elsewhere"])
async def test_beside_a_seal_that_is_in_use_nothing_is_taken_over_whatever_is_removed(
    tmp_path: Path, flags: dict[str, Any]
) -> None:
    path = tmp_path / "data" / "answers.db"
    async with served(tmp_path, KEY, **flags) as before:
        await before.answers.put(entry_of("a"))
        await until_rows(path)
    forge(path, old_checksum)
    as_before(path)
    if flags:
        (tmp_path / "data" / "secret").write_bytes(b"x" * 32)
    async with served(tmp_path, KEY, **flags) as after:
        assert await after.answers.get(digest("s"), digest("a")) is None


async def until_rows(path: Path) -> list[dict[str, Any]]:
    """What lies there, once what was put has been written."""
    async with asyncio.timeout(20):
        while not rows_in(path):  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)
    return rows_in(path)


def test_what_a_mark_covers_is_all_that_is_served() -> None:
    row: dict[str, Any] = dict.fromkeys(MARKED, "said")
    marks = Marks(SECRET)
    assert len({marks.of(row), *(marks.of({**row, name: "other"}) for name in MARKED)}) == len(MARKED) + 1
    assert marks.of({**row, "model": "ab", "revision": "c"}) != marks.of({**row, "model": "a", "revision": "bc"})
