"""The answers table: every SQL statement, as plain functions over a connection.

What to evict first is GreedyDual-Size-Frequency: each entry has a priority

    floor + (1 + hits, at most 100) * (seconds it took + 50 ms) / bytes

and the lowest goes. `floor` rises to the priority of whatever went last, so an entry that is no longer asked for
is overtaken by newer ones in time, however dear it was: recency without a clock, kept in an index.

`totals` is kept by triggers, so it is right whoever writes, and `size` costs nothing.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from gateway.answers.base import CacheError, Embedded, Entry, Unembedded
from gateway.answers.codec import decode, decode_json, encode, encode_json, size_bytes

APPLICATION_ID = 0x54774963  # "TwIc", in the file's header

# MIGRATIONS[n] brings version n to n + 1; `user_version` in the file's header says which it has
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY,
        scope BLOB NOT NULL, exact BLOB NOT NULL, compat BLOB NOT NULL, id TEXT NOT NULL,
        created_s REAL NOT NULL, expires_s REAL, elapsed_s REAL NOT NULL,
        size_bytes INTEGER NOT NULL, hits INTEGER NOT NULL, worth REAL NOT NULL, priority REAL NOT NULL,
        model TEXT NOT NULL, tags TEXT NOT NULL, embedder TEXT, vector BLOB, question TEXT,
        canonical BLOB NOT NULL, completion BLOB NOT NULL,
        UNIQUE (scope, exact), UNIQUE (id, scope)
    ) {strict};
    CREATE INDEX entries_by_priority ON entries (priority);
    CREATE INDEX entries_by_end ON entries (expires_s) WHERE expires_s IS NOT NULL;
    CREATE INDEX entries_embedded ON entries (embedder, created_s, seq) WHERE vector IS NOT NULL;
    CREATE TABLE totals (
        entries INTEGER NOT NULL, size_bytes INTEGER NOT NULL, floor REAL NOT NULL
    ) {strict};
    INSERT INTO totals VALUES (0, 0, 0.0);
    CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
        UPDATE totals SET entries = entries + 1, size_bytes = size_bytes + new.size_bytes;
    END;
    CREATE TRIGGER entry_resized AFTER UPDATE OF size_bytes ON entries BEGIN
        UPDATE totals SET size_bytes = size_bytes + new.size_bytes - old.size_bytes;
    END;
    CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
        UPDATE totals SET entries = entries - 1, size_bytes = size_bytes - old.size_bytes;
    END;
    """,
)

_FIELDS = tuple(field.name for field in fields(Entry))  # each is a column of the same name
_ENTRY = ", ".join(("seq", *_FIELDS))
_PUT = """
    INSERT INTO entries (scope, exact, compat, id, created_s, expires_s, elapsed_s, size_bytes, hits, worth, priority,
                         model, tags, embedder, vector, question, canonical, completion)
    SELECT :scope, :exact, :compat, :id, :created_s, :expires_s, :elapsed_s, :size_bytes, 0, :worth,
           floor + :worth, :model, :tags, :embedder, :vector, :question, :canonical, :completion FROM totals WHERE true
    ON CONFLICT (scope, exact) DO UPDATE SET
        compat = excluded.compat, id = excluded.id, created_s = excluded.created_s, expires_s = excluded.expires_s,
        elapsed_s = excluded.elapsed_s, size_bytes = excluded.size_bytes, worth = excluded.worth,
        priority = (SELECT floor FROM totals) + min(1 + hits, 100) * excluded.worth,
        model = excluded.model, tags = excluded.tags, embedder = excluded.embedder, vector = excluded.vector,
        question = excluded.question, canonical = excluded.canonical, completion = excluded.completion
"""
_LOOKUP_S = 0.05  # even an answer that cost nothing saves about this much

Row = Mapping[str, Any]


class BrokenRow(Exception):
    """A row that does not spell an entry any more."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(why)
        self.seq = seq


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring the schema to the newest version. Raises `CacheError` for a newer one, and for somebody else's file."""
    if _pragma(connection, "application_id") == APPLICATION_ID and _pragma(connection, "user_version") == len(
        migrations
    ):
        return
    connection.execute("BEGIN IMMEDIATE")  # of two processes that start together, one migrates
    try:
        _refuse_strangers(connection)
        version = _pragma(connection, "user_version")
        if version > len(migrations):
            raise CacheError(f"the answer store has schema {version}; this code knows up to {len(migrations)}")
        strict = "STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
        for script in migrations[version:]:
            for statement in _statements(script.format(strict=strict)):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def row_of(entry: Entry) -> Row:
    """`entry` as the parameters of `put`. Raises `CacheError` when it cannot be spelled."""
    completion = encode(entry.completion)
    size = size_bytes(entry, completion)
    return {
        "id": entry.id,
        "scope": entry.scope,
        "exact": entry.exact,
        "compat": entry.compat,
        "canonical": entry.canonical,
        "question": entry.question,
        "model": entry.model,
        "completion": completion,
        "created_s": entry.created_s,
        "expires_s": entry.expires_s,
        "elapsed_s": entry.elapsed_s,
        "tags": encode_json(entry.tags).decode(),
        "embedder": entry.embedder,
        "vector": entry.vector,
        "size_bytes": size,
        "worth": (entry.elapsed_s + _LOOKUP_S) / size,
    }


def put(connection: sqlite3.Connection, row: Row) -> None:
    """Insert or replace; a replaced entry keeps its hits."""
    connection.execute("DELETE FROM entries WHERE id = :id AND scope = :scope AND exact <> :exact", row)
    connection.execute(_PUT, row)


def find(connection: sqlite3.Connection, scope: bytes, exact: bytes, horizon_s: float) -> Entry | None:
    """The entry under this fingerprint unless it ended before `horizon_s`. Raises `BrokenRow`."""
    sql = f"SELECT {_ENTRY} FROM entries WHERE scope = ? AND exact = ?"  # noqa: S608
    return _entry(connection.execute(sql, (scope, exact)).fetchone(), horizon_s)


def find_by_id(connection: sqlite3.Connection, scope: bytes, entry_id: str, horizon_s: float) -> Entry | None:
    """The entry of this name unless it ended before `horizon_s`. Raises `BrokenRow`."""
    sql = f"SELECT {_ENTRY} FROM entries WHERE id = ? AND scope = ?"  # noqa: S608
    return _entry(connection.execute(sql, (entry_id, scope)).fetchone(), horizon_s)


def remove(connection: sqlite3.Connection, scope: bytes, entry_id: str) -> bool:
    return connection.execute("DELETE FROM entries WHERE id = ? AND scope = ?", (entry_id, scope)).rowcount > 0


def remove_broken(connection: sqlite3.Connection, find_it: Callable[[sqlite3.Connection], object]) -> None:
    """Delete the row that `find_it` cannot read, unless somebody put a good one there meanwhile."""
    try:
        find_it(connection)
    except BrokenRow as broken:
        connection.execute("DELETE FROM entries WHERE seq = ?", (broken.seq,))


def add_hits(connection: sqlite3.Connection, hits: Mapping[str, int]) -> None:
    connection.executemany(
        "UPDATE entries SET hits = hits + :n, priority = (SELECT floor FROM totals) + min(1 + hits + :n, 100) * worth"
        " WHERE id = :id",
        [{"id": entry_id, "n": n} for entry_id, n in hits.items()],
    )


def purge_expired(connection: sqlite3.Connection, horizon_s: float, limit: int) -> int:
    """Delete up to `limit` entries that ended before `horizon_s`; how many."""
    sql = "DELETE FROM entries WHERE seq IN (SELECT seq FROM entries WHERE expires_s <= ? ORDER BY expires_s LIMIT ?)"
    return connection.execute(sql, (horizon_s, limit)).rowcount


def evict(connection: sqlite3.Connection, limit: int) -> int:
    """Delete the `limit` entries of lowest priority and raise the floor to theirs; how many."""
    rows = connection.execute("SELECT seq, priority FROM entries ORDER BY priority, seq LIMIT ?", (limit,)).fetchall()
    if rows:
        connection.execute("UPDATE totals SET floor = ?", (rows[-1][1],))
        connection.executemany("DELETE FROM entries WHERE seq = ?", [(seq,) for seq, _ in rows])
    return len(rows)


def totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """Entries kept, and their bytes."""
    entries, size = connection.execute("SELECT entries, size_bytes FROM totals").fetchone()
    return entries, size


def embedded_page(
    connection: sqlite3.Connection, embedder: str, after: tuple[float, int], horizon_s: float, limit: int
) -> tuple[list[Embedded], tuple[float, int] | None]:
    """The next `limit` rows with a vector after the place `after`, and the place reached; None at the end."""
    rows = connection.execute(
        "SELECT created_s, seq, id, scope, compat, question, vector, expires_s FROM entries"
        " WHERE embedder = ? AND vector IS NOT NULL AND length(vector) > 0 AND (created_s, seq) > (?, ?)"
        " ORDER BY created_s, seq LIMIT ?",
        (embedder, *after, limit),
    ).fetchall()
    page = [Embedded(*row[2:]) for row in rows if row[5] is not None and (row[7] is None or horizon_s < row[7])]
    return page, (rows[-1][0], rows[-1][1]) if rows else None


def unembedded_page(
    connection: sqlite3.Connection, embedder: str, after: int, horizon_s: float, limit: int
) -> tuple[list[Unembedded], int | None]:
    """Of the next `limit` rows after the place `after`, those without a vector, and the place reached; None at the end.

    It reads every row once, before the long columns begin: a start may cost that, an index would cost every put.
    """
    rows = connection.execute(
        "SELECT embedder IS ? AND vector IS NOT NULL, seq, id, scope, compat, question, expires_s"
        " FROM entries WHERE seq > ? ORDER BY seq LIMIT ?",
        (embedder, after, limit),
    ).fetchall()
    lacking = [Unembedded(*row[2:]) for row in rows if not row[0] and row[5] is not None]
    page = [row for row in lacking if row.expires_s is None or horizon_s < row.expires_s]
    return page, rows[-1][1] if rows else None


def set_vector(connection: sqlite3.Connection, row: Unembedded, embedder: str, vector: bytes) -> None:
    """Give an entry its vector, unless it asks something else by now; its size follows, its priority stays."""
    connection.execute(
        "UPDATE entries SET embedder = :embedder, vector = :vector, size_bytes = size_bytes"
        " + length(CAST(:embedder AS BLOB)) - coalesce(length(CAST(embedder AS BLOB)), 0)"
        " + length(:vector) - coalesce(length(vector), 0)"
        " WHERE id = :id AND scope = :scope AND question = :question",
        {"id": row.id, "scope": row.scope, "question": row.question, "embedder": embedder, "vector": vector},
    )


def _entry(row: tuple[Any, ...] | None, horizon_s: float) -> Entry | None:
    if row is None:
        return None
    seq, *values = row
    try:
        entry = _entry_of(dict(zip(_FIELDS, values, strict=True)))
    except (CacheError, TypeError, ValueError) as error:
        raise BrokenRow(seq, str(error)) from error
    return entry if entry.is_fresh(horizon_s) else None


def _entry_of(row: dict[str, Any]) -> Entry:
    completion, tags = decode(row["completion"]), tuple(decode_json(row["tags"]))
    return Entry(**{**row, "completion": completion, "tags": tags})


def _refuse_strangers(connection: sqlite3.Connection) -> None:
    owner = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if owner != APPLICATION_ID and tables:
        raise CacheError("the file is a database of something else, not an answer store")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _statements(script: str) -> list[str]:
    """The statements of a script; a trigger holds semicolons of its own."""
    statements, current = [], ""
    for line in script.splitlines():
        current += line + "\n"
        if current.strip() and sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    return statements
