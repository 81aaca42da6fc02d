"""The answers table: the statements of the road of a request, as plain functions over a connection.

What keeps it small stands in `gateway.answers.upkeep`, what is asked about many entries at once in
`gateway.answers.catalog`, the schema in `gateway.answers.schema`.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields
from typing import Any

from gateway.answers.base import CacheError, Embedded, Entry, Unembedded
from gateway.answers.codec import decode, decode_json, encode, encode_json, size_bytes
from gateway.answers.eviction import worth
from gateway.answers.marks import Marks
from gateway.answers.sealed import open_about, open_row, open_vector, seal_row, seal_vector, vector_bytes
from gateway.answers.upkeep import Rank, floor_of
from gateway.seal import NO_SEAL, Seal, Unsealed

_FIELDS = tuple(field.name for field in fields(Entry) if field.compare)  # each is a column of the same name
_SEALED = ("seal", "about", "words")
_ENTRY = ", ".join(("seq", *_FIELDS, *_SEALED, "checksum"))
_PUT = """
    INSERT INTO entries (scope, exact, compat, id, created_s, expires_s, elapsed_s, size_bytes, hits, worth, priority,
                         model, tags, embedder, vector, question, canonical, completion,
                         tenant, namespace, revision, schema, sliding_s, alias_of, good, bad, origin,
                         seal, about, words, checksum)
    VALUES (:scope, :exact, :compat, :id, :created_s, :expires_s, :elapsed_s, :size_bytes, 0, :worth, :priority,
            :model, :tags, :embedder, :vector, :question, :canonical, :completion,
            :tenant, :namespace, :revision, :schema, :sliding_s, :alias_of, :good, :bad, :origin,
            :seal, :about, :words, :checksum)
    ON CONFLICT (scope, exact) DO UPDATE SET
        compat = excluded.compat, id = excluded.id, created_s = excluded.created_s, expires_s = excluded.expires_s,
        elapsed_s = excluded.elapsed_s, size_bytes = excluded.size_bytes, worth = excluded.worth,
        priority = excluded.priority, model = excluded.model, tags = excluded.tags, embedder = excluded.embedder,
        vector = excluded.vector, question = excluded.question, canonical = excluded.canonical,
        completion = excluded.completion, revision = excluded.revision, schema = excluded.schema,
        sliding_s = excluded.sliding_s, alias_of = excluded.alias_of, good = excluded.good, bad = excluded.bad,
        origin = excluded.origin, namespace = excluded.namespace, seal = excluded.seal, about = excluded.about,
        words = excluded.words, checksum = excluded.checksum
"""

FEW_ROWS = 32  # of a page that others do not keep from being read
BEGIN = (float("-inf"), 0)
END = (float("inf"), 2**63 - 1)

Row = Mapping[str, Any]
Place = tuple[float, int]  # of a row, in the order of age
GivesWay = Callable[[], bool]


def never() -> bool:
    """Nobody else waits."""
    return False


class BrokenRow(Exception):
    """A row that does not spell an entry any more."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(why)
        self.seq = seq


def row_of(entry: Entry, seal: Seal = NO_SEAL) -> Row:
    """`entry` as the parameters of `put`. Raises `CacheError` when it cannot be spelled."""
    completion = encode(entry.completion)
    size = size_bytes(entry, completion)
    row = {
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
        "worth": worth(entry.elapsed_s, size),
        "tenant": entry.tenant,
        "namespace": entry.namespace,
        "revision": entry.revision,
        "schema": entry.schema,
        "sliding_s": entry.sliding_s,
        "alias_of": entry.alias_of,
        "good": entry.good,
        "bad": entry.bad,
        "origin": entry.origin,
    }
    return {**seal_row(row, seal), "checksum": None}


def put(connection: sqlite3.Connection, row: Row, rank: Rank, marks: Marks) -> None:
    """Insert or replace; a replaced entry keeps its hits, the same answer put again also the verdicts on it.

    An alias of what is gone is not kept.
    """
    if row["alias_of"] is not None and not _has(connection, row["scope"], row["alias_of"]):
        return
    before = connection.execute(
        "SELECT id, created_s, hits, good, bad, tenant FROM entries WHERE scope = :scope AND exact = :exact", row
    ).fetchone()
    hits, said = 0, {}
    if before is not None:
        entry_id, created_s, hits, good, bad, tenant = before
        if (entry_id, created_s) == (row["id"], row["created_s"]):
            said = {"good": good, "bad": bad}
        else:
            connection.execute("DELETE FROM verdicts WHERE scope = ? AND id = ?", (row["scope"], entry_id))
            remove_aliases(connection, row["scope"], entry_id)  # they have the old answer
        if tenant != row["tenant"]:  # a row of an older version, which did not know whose it is
            connection.execute("DELETE FROM entries WHERE scope = :scope AND exact = :exact", row)
    connection.execute("DELETE FROM entries WHERE id = :id AND scope = :scope AND exact <> :exact", row)
    uses = max(1 + hits, rank.used(row["exact"], 1))
    priority = rank.first(floor_of(connection), uses, row["worth"])
    summed = None if row["seal"] else marks.of(row)  # here, as this is no event loop, and an answer may be large
    connection.execute(_PUT, {**row, **said, "priority": priority, "checksum": summed})


def remove_aliases(connection: sqlite3.Connection, scope: bytes, entry_id: str) -> None:
    connection.execute("DELETE FROM entries WHERE alias_of = ? AND scope = ?", (entry_id, scope))


def _has(connection: sqlite3.Connection, scope: bytes, entry_id: str) -> bool:
    row = connection.execute("SELECT 1 FROM entries WHERE id = ? AND scope = ?", (entry_id, scope)).fetchone()
    return row is not None


def find(
    connection: sqlite3.Connection, scope: bytes, exact: bytes, horizon_s: float, marks: Marks, seal: Seal = NO_SEAL
) -> Entry | None:
    """The entry under this fingerprint unless it ended before `horizon_s`. Raises `BrokenRow`."""
    sql = f"SELECT {_ENTRY} FROM entries WHERE scope = ? AND exact = ?"  # noqa: S608
    return _entry(connection.execute(sql, (scope, exact)).fetchone(), horizon_s, marks, seal)


def find_by_id(
    connection: sqlite3.Connection, scope: bytes, entry_id: str, horizon_s: float, marks: Marks, seal: Seal = NO_SEAL
) -> Entry | None:
    """The entry of this name unless it ended before `horizon_s`. Raises `BrokenRow`."""
    sql = f"SELECT {_ENTRY} FROM entries WHERE id = ? AND scope = ?"  # noqa: S608
    return _entry(connection.execute(sql, (entry_id, scope)).fetchone(), horizon_s, marks, seal)


def find_owned(
    connection: sqlite3.Connection, tenant: str, entry_id: str, horizon_s: float, marks: Marks, seal: Seal = NO_SEAL
) -> Entry | None:
    """The entry of this name if it is this tenant's. Raises `BrokenRow`."""
    sql = f"SELECT {_ENTRY} FROM entries WHERE id = ? AND +tenant = ?"  # noqa: S608 - + keeps it off the tenant's index
    return _entry(connection.execute(sql, (entry_id, tenant)).fetchone(), horizon_s, marks, seal)


def remove(connection: sqlite3.Connection, scope: bytes, entry_id: str) -> bool:
    remove_aliases(connection, scope, entry_id)
    return connection.execute("DELETE FROM entries WHERE id = ? AND scope = ?", (entry_id, scope)).rowcount > 0


def remove_broken(connection: sqlite3.Connection, find_it: Callable[[sqlite3.Connection], object]) -> None:
    """Delete the row that `find_it` cannot read, unless somebody put a good one there meanwhile."""
    try:
        find_it(connection)
    except BrokenRow as broken:
        connection.execute("DELETE FROM entries WHERE seq = ?", (broken.seq,))


def embedded_page(
    connection: sqlite3.Connection,
    embedder: str,
    after: Place,
    horizon_s: float,
    limit: int,
    seal: Seal = NO_SEAL,
    gives_way: GivesWay = never,
) -> tuple[list[Embedded], Place | None]:
    """The next `limit` rows with a vector after the place `after`, and the place reached; None at the end.

    A page ends sooner where `gives_way` says that others wait, so that whoever asks for the next one can let them.
    """
    cursor = connection.execute(
        "SELECT created_s, seq, id, scope, compat, question, vector, expires_s, seal, about FROM entries"
        " WHERE embedder = ? AND vector IS NOT NULL AND length(vector) > 0 AND (created_s, seq) > (?, ?)"
        " ORDER BY created_s, seq LIMIT ?",
        (embedder, *after, limit),
    )
    rows, _ = _some(cursor, gives_way)
    live = (row[2:] for row in rows if row[5] is not None and (row[7] is None or horizon_s < row[7]))
    page = [found for row in live if (found := _embedded(row, embedder, seal)) is not None]
    return page, (rows[-1][0], rows[-1][1]) if rows else None


def _some(cursor: sqlite3.Cursor, gives_way: GivesWay) -> tuple[list[tuple[Any, ...]], bool]:
    """The rows of a page, a few at least, and whether those are all of it."""
    rows: list[tuple[Any, ...]] = []
    with closing(cursor):
        while few := cursor.fetchmany(FEW_ROWS):
            rows += few
            if gives_way():
                return rows, False
    return rows, True


def _embedded(row: tuple[Any, ...], embedder: str, seal: Seal) -> Embedded | None:
    """A row of the index; None when it cannot be opened."""
    entry_id, scope, compat, question, vector, expires_s, sealed_by, about = row
    if sealed_by:
        try:
            question = open_about(about, scope, entry_id, seal)["question"]
            vector = open_vector(vector, scope, entry_id, embedder, seal)
        except Unsealed:
            return None
    return Embedded(entry_id, scope, compat, question, vector, expires_s)


def unembedded_page(
    connection: sqlite3.Connection,
    embedder: str,
    after: Place,
    horizon_s: float,
    limit: int,
    seal: Seal = NO_SEAL,
    gives_way: GivesWay = never,
) -> tuple[list[Unembedded], Place | None]:
    """Of the next `limit` rows after the place `after`, those without a vector, and the place reached; None at the end.

    Two indexes tell which those are, and only they are read: to read every row of a large store takes minutes.
    A page ends sooner as that of `embedded_page` does.
    """
    last: Place | None = connection.execute(
        "SELECT created_s, seq FROM entries WHERE (created_s, seq) > (?, ?) ORDER BY created_s, seq LIMIT 1 OFFSET ?",
        (*after, limit - 1),
    ).fetchone()
    within = (*after, *(last or END))
    cursor = connection.execute(
        "SELECT created_s, seq, id, scope, compat, question, expires_s, seal, about FROM entries"
        " WHERE (created_s, seq) > (?, ?) AND (created_s, seq) <= (?, ?) AND seq NOT IN"
        " (SELECT seq FROM entries WHERE embedder = ? AND vector IS NOT NULL"
        " AND (created_s, seq) > (?, ?) AND (created_s, seq) <= (?, ?))"
        " ORDER BY created_s, seq",
        (*within, embedder, *within),
    )
    rows, is_whole = _some(cursor, gives_way)
    lacking = (row[2:] for row in rows if row[5] is not None and (row[6] is None or horizon_s < row[6]))
    page = [found for row in lacking if (found := _unembedded(row, seal)) is not None]
    return page, last if is_whole else (rows[-1][0], rows[-1][1])


def _unembedded(row: tuple[Any, ...], seal: Seal) -> Unembedded | None:
    """What has to be embedded; None when it cannot be opened."""
    entry_id, scope, compat, question, expires_s, sealed_by, about = row
    if sealed_by:
        try:
            question = open_about(about, scope, entry_id, seal)["question"]
        except Unsealed:
            return None
    return Unembedded(entry_id, scope, compat, question, expires_s)


def set_vector(
    connection: sqlite3.Connection, row: Unembedded, embedder: str, vector: bytes, seal: Seal = NO_SEAL
) -> bool:
    """Give an entry its vector, unless it asks something else by now; its size follows, its priority stays."""
    sql = "SELECT seq, question, embedder, vector, seal, about FROM entries WHERE id = ? AND scope = ?"
    found = connection.execute(sql, (row.id, row.scope)).fetchone()
    if found is None:
        return False
    seq, question, had, before, sealed_by, about = found
    if sealed_by:
        question = open_about(about, row.scope, row.id, seal)["question"]
    if question != row.question:
        return False
    grown = _bytes(embedder) + len(vector) - _bytes(had or "") - vector_bytes(before, is_sealed=bool(sealed_by))
    kept = seal_vector(vector, row.scope, row.id, embedder, seal) if sealed_by else vector
    sql = "UPDATE entries SET embedder = ?, vector = ?, size_bytes = size_bytes + ? WHERE seq = ?"
    return connection.execute(sql, (embedder, kept, grown, seq)).rowcount > 0


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _entry(row: tuple[Any, ...] | None, horizon_s: float, marks: Marks, seal: Seal) -> Entry | None:
    if row is None:
        return None
    seq, *values, summed = row
    said = dict(zip((*_FIELDS, *_SEALED), values, strict=True))
    if not marks.is_ours({**said, "checksum": summed}):
        raise BrokenRow(seq, "it does not say what this gateway wrote")
    try:
        entry = _entry_of(open_row(said, seal))
    except Unsealed as error:
        if error.is_foreign:  # its key may come back
            return None
        raise BrokenRow(seq, str(error)) from error
    except (CacheError, TypeError, ValueError) as error:
        raise BrokenRow(seq, str(error)) from error
    return entry if entry.is_fresh(horizon_s) else None


def _entry_of(row: dict[str, Any]) -> Entry:
    completion, tags = decode(row["completion"]), tuple(decode_json(row["tags"]))
    return Entry(**{**row, "completion": completion, "tags": tags})
