"""Rows that another key sealed, or none, are sealed by the one in use: behind everybody's back, a few at a time.

`totals.seal` says which key the whole file was put under, and an index which rows bear another name: a gateway that was
started before may write in plain, or under the older key, for a while. So both are looked at by every start, and the
rows every few minutes. A file in which something does not open is under no key. Afterwards the file is made anew
(VACUUM) and the log emptied: no page of the words as they were is left.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gateway.answers.marks import MARKED, Marks
from gateway.answers.purge import emptied
from gateway.answers.sealed import IN_PLAIN, open_comment, open_row, seal_comment, seal_row
from gateway.answers.thread import ConnectionThread
from gateway.seal import Seal, Unsealed

log = logging.getLogger(__name__)

ROWS = 64  # of one transaction
PAUSE_S = 0.005  # between two, for those that wait
LOOK_S = 300.0  # rows under other names are looked for so often
UNSETTLED = "?"  # instead of a key's name, until all of the file is under one
_COLUMNS = ("seq", "scope", "id", "embedder", "question", "tags", "namespace", "canonical", "completion", "vector")
_CHANGED = ("question", "tags", "namespace", "canonical", "completion", "vector", "seal", "about", "words")
_SET = ", ".join(f"{name} = :{name}" for name in (*_CHANGED, "checksum"))
_UPDATE = f"UPDATE entries SET {_SET} WHERE seq = :seq"  # noqa: S608


@dataclass(slots=True)
class Sealing:
    """How far it is."""

    sealed: int = 0
    lost: int = 0  # what does not open


class Sweep(Protocol):
    """Seals the next rows after a place; the place reached, None at the end."""

    def __call__(self, connection: sqlite3.Connection, *, after: int, seal: Seal, done: Sealing) -> int | None: ...


class Note(Protocol):
    """Writes down which key a file is under."""

    def __call__(self, connection: sqlite3.Connection, *, name: str) -> None: ...


async def reseal(thread: ConnectionThread, seal: Seal, marks: Marks) -> Sealing:
    """Put all answers under the key in use. Raises `CacheError`."""
    return await swept(thread, seal, partial(_reseal_some, marks=marks), "stored answers", note_key)


async def swept(thread: ConnectionThread, seal: Seal, sweep: Sweep, what: str, note: Note) -> Sealing:
    """Go through a file; then nothing that was changed is left in it, now or by a try that was broken off, and `note`
    says so unless something did not open. Raises `CacheError`."""
    done, holds_any = Sealing(), False
    await thread.call(partial(note, name=UNSETTLED))
    at: int | None = 0
    while at is not None:
        holds_any = holds_any or at > 0
        at = await thread.call(partial(sweep, after=at, seal=seal, done=done))
        await asyncio.sleep(PAUSE_S)
    if holds_any:
        await thread.submit(_made_anew, is_alone=True)
    if done.sealed:
        log.info("%d %s are %s now", done.sealed, what, "sealed" if seal.name else "kept in plain")
    if done.lost:
        log.warning("%d %s are sealed under a key that is not given: they are not found", done.lost, what)
        return done
    await thread.call(partial(note, name=seal.name))
    if holds_any:
        log.info("all %s are %s", what, f"under the key {seal.name}" if seal.name else "in plain")
    return done


def is_under(connection: sqlite3.Connection, seal: Seal, table: str, keys: Sequence[str]) -> bool:
    """Whether all of a small file was put under this key, and nothing came otherwise since; an empty one was. `keys`
    tell, in SQL, which key the parts of a row are under."""
    connection.execute("CREATE TABLE IF NOT EXISTS seal (name TEXT NOT NULL)")
    if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None:  # noqa: S608
        note(connection, name=seal.name)
    found = connection.execute("SELECT name FROM seal").fetchone()
    if (found[0] if found else "") != seal.name:
        return False
    among = ", ".join("?" * len(seal.older))
    has_older = " OR ".join(f"{key} IN ({among})" for key in keys)
    asked = f"SELECT 1 FROM {table} WHERE {has_older} LIMIT 1"  # noqa: S608
    return not seal.older or connection.execute(asked, seal.older * len(keys)).fetchone() is None


def note(connection: sqlite3.Connection, *, name: str) -> None:
    """All of a small file is under this key."""
    connection.execute("DELETE FROM seal")
    connection.execute("INSERT INTO seal VALUES (?)", (name,))


def key_of_file(connection: sqlite3.Connection) -> str:
    """The name of the key that all rows were under when this was last looked into; empty: none."""
    return str(connection.execute("SELECT seal FROM totals").fetchone()[0])


def is_settled(connection: sqlite3.Connection, seal: Seal) -> bool:
    """Whether there is nothing to seal again."""
    return key_of_file(connection) == seal.name and not has_older(connection, seal)


def has_older(connection: sqlite3.Connection, seal: Seal) -> bool:
    """Whether any row is in plain, or under an older key that is given. Costs next to nothing."""
    among = ", ".join("?" * len(seal.older))
    asked = f"SELECT 1 FROM entries WHERE seal IN ({among}) LIMIT 1"  # noqa: S608
    return bool(seal.older) and connection.execute(asked, seal.older).fetchone() is not None


def note_key(connection: sqlite3.Connection, name: str) -> None:
    """All rows are under this key."""
    connection.execute("UPDATE totals SET seal = ?", (name,))


def _reseal_some(connection: sqlite3.Connection, after: int, seal: Seal, done: Sealing, marks: Marks) -> int | None:
    """The next rows; the place reached, None at the end."""
    names = tuple(dict.fromkeys((*_COLUMNS, *IN_PLAIN, *MARKED, "seal", "about", "words", "checksum")))
    sql = f"SELECT {', '.join(names)} FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
    rows = [dict(zip(names, row, strict=True)) for row in connection.execute(sql, (after, ROWS))]
    for row in rows:
        if row["seal"] == seal.name:
            continue
        try:
            plain = open_row(row, seal) if marks.is_ours(row) else None
        except Unsealed as error:
            if error.is_foreign:  # its key may come back
                done.lost += 1
                continue
            plain = None
        if plain is None:  # it does not say what was written, and a seal would vouch for it
            connection.execute("DELETE FROM entries WHERE seq = ?", (row["seq"],))
            continue
        shut = _texts(seal_row(plain, seal))
        connection.execute(_UPDATE, {**shut, "checksum": None if seal.name else marks.of(shut)})
        _reseal_comments(connection, row["scope"], row["id"], seal)
        done.sealed += 1
    return int(rows[-1]["seq"]) if rows else None


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    tags = row["tags"]
    return {**row, "tags": tags.decode() if isinstance(tags, bytes) else tags}


def _reseal_comments(connection: sqlite3.Connection, scope: bytes, entry_id: str, seal: Seal) -> None:
    key = (scope, entry_id)
    said = connection.execute("SELECT source, comment FROM verdicts WHERE scope = ? AND id = ?", key).fetchall()
    for source, comment in said:
        again = seal_comment(open_comment(comment, *key, seal), *key, seal)
        connection.execute(
            "UPDATE verdicts SET comment = ? WHERE scope = ? AND id = ? AND source = ?", (again, *key, source)
        )


def _made_anew(connection: sqlite3.Connection) -> None:
    connection.execute("VACUUM")
    emptied(connection)
