"""What is asked about many entries at once, and what users said of one: plain functions over a connection."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.answers.base import BAD_RETIRES, MAX_VERDICTS, Entry, Gone, Tally, Verdict, counted
from gateway.answers.codec import decode_json
from gateway.answers.sealed import open_about, open_comment, open_words, seal_comment
from gateway.answers.selection import Listed, Page, Selection, needle
from gateway.answers.upkeep import delete
from gateway.seal import NO_SEAL, Seal, Unsealed

_EQUAL = ("scope", "exact", "model", "tenant", "revision", "schema", "embedder")
_LISTED = """created_s, seq, id, tenant, namespace, model, revision, question, tags, expires_s, elapsed_s, size_bytes,
    hits, good, bad, alias_of, origin, scope, seal, about"""


def select(connection: sqlite3.Connection, selection: Selection, page: Page, seal: Seal = NO_SEAL) -> list[Listed]:
    """What is selected, newest first, a page of it."""
    where, values = _where(selection, seal)
    if page.after is not None:
        where, values = f"{where} AND (created_s, seq) < (?, ?)", [*values, *page.after]
    sql = f"SELECT {_LISTED} FROM entries WHERE {where} ORDER BY created_s DESC, seq DESC LIMIT ?"  # noqa: S608
    return [_listed(row, seal) for row in connection.execute(sql, (*values, page.limit))]


def requests(connection: sqlite3.Connection, scope: bytes, limit: int, seal: Seal = NO_SEAL) -> list[tuple[str, bytes]]:
    """Id and canonical request of the newest of a scope."""
    sql = "SELECT id, canonical, seal, words FROM entries WHERE scope = ? ORDER BY created_s DESC, seq DESC LIMIT ?"
    found: list[tuple[str, bytes]] = []
    for entry_id, canonical, sealed_by, words in connection.execute(sql, (scope, limit)):
        with suppress(Unsealed):
            found.append((entry_id, open_words(words, scope, entry_id, seal)[0] if sealed_by else canonical))
    return found


def count(connection: sqlite3.Connection, selection: Selection, seal: Seal = NO_SEAL) -> int:
    where, values = _where(selection, seal)
    found = connection.execute(f"SELECT count(*) FROM entries WHERE {where}", values).fetchone()  # noqa: S608
    return int(found[0])


def places(connection: sqlite3.Connection, selection: Selection, seal: Seal = NO_SEAL) -> list[tuple[int, float]]:
    """Row and time of everything that is selected."""
    where, values = _where(selection, seal)
    return connection.execute(f"SELECT seq, created_s FROM entries WHERE {where}", values).fetchall()  # noqa: S608


def remove_places(connection: sqlite3.Connection, chosen: Sequence[tuple[int, float]]) -> list[Gone]:
    """Delete these rows, unless they hold another answer by now."""
    sql = "SELECT seq, id, scope, compat FROM entries WHERE seq = ? AND created_s = ?"
    found = (connection.execute(sql, place).fetchone() for place in chosen)
    return delete(connection, [row for row in found if row is not None])


def nothing(_: sqlite3.Connection) -> None:
    """Done when everything that was queued before is."""


def judge(connection: sqlite3.Connection, entry: Entry, verdict: Verdict, seal: Seal = NO_SEAL) -> Tally | None:
    """Write a verdict down, in the place of an earlier one of the same source; enough bad ones delete the entry.

    Of an entry that is sealed a gateway without a seal keeps no comment: it would lie there in plain."""
    key = (entry.scope, entry.id)
    is_here = "SELECT good, bad, seal FROM entries WHERE scope = ? AND id = ? AND created_s = ?"
    found = connection.execute(is_here, (*key, entry.created_s)).fetchone()
    if found is None:
        return None
    good, bad, row_key = found
    comment = verdict.comment if seal.name or not row_key else ""
    before = connection.execute(
        "SELECT is_good FROM verdicts WHERE scope = ? AND id = ? AND source = ?", (*key, verdict.source)
    ).fetchone()
    good, bad = counted((good, bad), None if before is None else bool(before[0]), is_good=verdict.is_good)
    connection.execute(
        "INSERT OR REPLACE INTO verdicts (scope, id, source, is_good, comment, at_s) VALUES (?, ?, ?, ?, ?, ?)",
        (*key, verdict.source, verdict.is_good, seal_comment(comment, *key, seal), verdict.at_s),
    )
    connection.execute(
        "DELETE FROM verdicts WHERE (scope, id, source) IN (SELECT scope, id, source FROM verdicts"
        " WHERE scope = ? AND id = ? ORDER BY at_s DESC LIMIT -1 OFFSET ?)",
        (*key, MAX_VERDICTS),
    )
    connection.execute("UPDATE entries SET good = ?, bad = ? WHERE scope = ? AND id = ?", (good, bad, *key))
    if bad < BAD_RETIRES:
        return Tally(good, bad)
    sql = "SELECT seq, id, scope, compat FROM entries WHERE scope = ? AND (id = ? OR alias_of = ?)"
    rows = connection.execute(sql, (*key, entry.id)).fetchall()
    return Tally(good, bad, tuple(delete(connection, rows)))


def verdicts(connection: sqlite3.Connection, scope: bytes, entry_id: str, seal: Seal = NO_SEAL) -> list[Verdict]:
    """What users said of an entry, oldest first."""
    sql = "SELECT source, is_good, comment, at_s FROM verdicts WHERE scope = ? AND id = ? ORDER BY at_s"
    rows = connection.execute(sql, (scope, entry_id))
    said = partial(open_comment, scope=scope, entry_id=entry_id, seal=seal)
    return [Verdict(source, bool(is_good), said(comment), at_s) for source, is_good, comment, at_s in rows]


def closed(connection: sqlite3.Connection, selection: Selection, seal: Seal = NO_SEAL) -> int:
    """Rows that no given key opens, where tag, namespace or words would have to be looked at."""
    if (selection.tag, selection.namespace, selection.text, selection.canonical) == (None,) * 4:
        return 0
    names = (seal.name, "", *seal.older)
    in_plain = replace(selection, tag=None, namespace=None, text=None, canonical=None)
    where, values = _where(in_plain, seal)
    asked = f"SELECT count(*) FROM entries WHERE {where} AND seal NOT IN ({', '.join('?' * len(names))})"  # noqa: S608
    return int(connection.execute(asked, (*values, *names)).fetchone()[0])


def _where(selection: Selection, seal: Seal) -> tuple[str, list[Any]]:
    """The condition, and what it is filled with."""
    terms, values = ["true"], list[Any]()

    def also(term: str, *of: Any) -> None:
        terms.append(term)
        values.extend(of)

    for name in _EQUAL:
        if (value := getattr(selection, name)) is not None:
            also(f"{name} = ?", value)
    if selection.canonical is not None:  # the length is told without reading the request
        plain, sealed = "length(canonical) = ? AND canonical = ?", "seal <> '' AND asks(words, scope, id, ?)"
        also(f"({plain} OR {sealed})", len(selection.canonical), selection.canonical, selection.canonical)
    if selection.id is not None:
        also("(id = ? OR alias_of = ?)", selection.id, selection.id)
    if selection.tag is not None:
        tags = dict.fromkeys((selection.tag, *seal.tokens(selection.tag)))
        among = ", ".join("?" * len(tags))
        also(f"EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value IN ({among}))", *tags)  # noqa: S608
    if selection.namespace is not None:
        names = dict.fromkeys((selection.namespace, *seal.tokens(selection.namespace)))
        also(f"namespace IN ({', '.join('?' * len(names))})", *names)
    if selection.before_s is not None:
        also("created_s <= ?", selection.before_s)
    if selection.text is not None:
        says = " OR ".join(f"instr(lower(CAST({name} AS TEXT)), ?)" for name in ("canonical", "completion"))
        wanted = needle(selection.text).decode("utf-8", "surrogatepass")
        also(f"({says} OR seal <> '' AND says(words, scope, id, ?))", wanted, wanted, selection.text)
    return " AND ".join(terms), values


def _listed(row: Sequence[Any], seal: Seal) -> Listed:
    created_s, seq, entry_id, tenant, namespace, model, revision, question, tags, *rest = row
    expires_s, elapsed_s, size_bytes, hits, good, bad, alias_of, origin, scope, sealed_by, about = rest
    said = {"question": question, "tags": decode_json(tags), "namespace": namespace}
    if sealed_by:
        try:
            said = open_about(about, scope, entry_id, seal)
        except Unsealed:  # there is an entry, more cannot be told
            said = {"question": None, "tags": (), "namespace": ""}
    return Listed(
        place=(created_s, seq),
        id=entry_id,
        tenant=tenant,
        namespace=said["namespace"],
        model=model,
        revision=revision,
        question=said["question"],
        tags=tuple(said["tags"]),
        created_s=created_s,
        expires_s=expires_s,
        elapsed_s=elapsed_s,
        size_bytes=size_bytes,
        hits=hits,
        good=good,
        bad=bad,
        alias_of=alias_of,
        origin=origin,
    )
