"""Vectors in a SQLite file: what a restart does not forget. One thread owns the connection; the least recently used go.

No text is kept, only keyed digests of them. With a seal a vector lies there sealed with its tags and namespace, for
which tokens stand, and its code ends with a tilde. A file that is corrupt is set aside, and an empty one begun.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from gateway.answers.base import CacheError
from gateway.answers.file import begun
from gateway.answers.mended import MendedThread
from gateway.answers.purge import Purge, emptied
from gateway.answers.resealing import Sealing, is_under, note, swept
from gateway.answers.selection import Selection
from gateway.answers.thread import run_in_one_transaction
from gateway.embedded.kept import Kept, names_answers
from gateway.embedded.vector import Vector
from gateway.seal import MAGIC, NO_SEAL, Seal, Unsealed, key_name, place

log = logging.getLogger(__name__)

BUSY_S = 2.0
SEALED = "~"  # behind the code of a vector that is sealed
_SIZES = {"f": 4, "d": 8, "s": 1}  # bytes of one number, by the code of a vector
ROWS = 256  # sealed in one transaction
TOGETHER = 500  # keys of one statement
USED_AGAIN_S = 3600.0  # a use is written down when the one that was is older than this
LEFT_SHARE = 0.95  # of the budget, once something had to go

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB NOT NULL PRIMARY KEY, code TEXT NOT NULL, data BLOB NOT NULL, num_tokens INTEGER NOT NULL,
    tenant TEXT NOT NULL, model TEXT NOT NULL, namespace TEXT NOT NULL, revision TEXT NOT NULL,
    created_s REAL NOT NULL, expires_s REAL, elapsed_s REAL NOT NULL, tags TEXT NOT NULL,
    used_s REAL NOT NULL, size_bytes INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS vectors_by_use ON vectors (used_s);
CREATE INDEX IF NOT EXISTS vectors_by_end ON vectors (expires_s) WHERE expires_s IS NOT NULL;
"""
_KEY_OF = f"CASE WHEN code LIKE '%{SEALED}' THEN lower(hex(substr(data, {len(MAGIC) + 1}, 4))) ELSE '' END"
_COLUMNS = "key, code, data, num_tokens, tenant, model, namespace, revision, created_s, expires_s, elapsed_s, tags"


class FileVectors:
    """As many as fit a budget of bytes. Open it once, close it once."""

    def __init__(self, path: Path, budget_bytes: int, seal: Seal = NO_SEAL) -> None:
        self._seal = seal
        self._resealing: asyncio.Task[None] | None = None
        self.size_bytes = 0  # as of the last write
        self.rows = 0
        self._path = path
        self._budget_bytes = budget_bytes
        self._thread = MendedThread(
            path,
            "vectors",
            partial(begun, path, BUSY_S, self._begin),
            run_in_one_transaction,
            max_waiting=1024,
            max_together=32,
        )
        self._purge = Purge(self._thread)

    async def open(self) -> None:
        """Make or open the file. Raises `CacheError`."""
        await self._thread.open()
        if not await self._thread.call(partial(is_under, seal=self._seal, table="vectors", keys=[_KEY_OF])):
            self._resealing = asyncio.create_task(self._reseal())

    async def _reseal(self) -> None:
        """Put what was kept before under the key in use."""
        try:
            await swept(self._thread, self._seal, _reseal_some, "vectors of embeddings", note)
        except CacheError as error:  # the next start goes on
            log.warning("not all of %s is sealed yet: %s", self._path, error)

    async def close(self) -> None:
        if self._resealing is not None:
            self._resealing.cancel()
            await asyncio.wait([self._resealing])
        self._purge.close()
        await self._thread.close()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Those that are here."""
        return await self._thread.call(lambda connection: _get(connection, keys, self._seal))

    async def put(self, kept: Sequence[Kept]) -> None:
        await self._thread.call(lambda connection: self._put(connection, kept))

    async def count(self, selection: Selection) -> int:
        """How many are meant."""
        if names_answers(selection):
            return 0
        where, values = _where(selection, self._seal)
        query = f"SELECT count(*) FROM vectors WHERE {where}"  # noqa: S608
        return await self._thread.call(lambda connection: int(connection.execute(query, values).fetchone()[0]))

    async def remove(self, selection: Selection) -> int:
        """Forget what is meant; how many those were."""
        if names_answers(selection):
            return 0
        count = await self._thread.call(lambda one: self._remove(one, selection))
        if count:
            self._purge.soon()
        return count

    async def closed(self, selection: Selection) -> int:
        """Vectors of which nobody can say whether they wear a tag: no given key opens them. Raises `CacheError`."""
        if selection.tag is None or names_answers(selection):
            return 0
        where, values = _where(Selection(tenant=selection.tenant), self._seal)
        names = ("", self._seal.name, *self._seal.older)
        asked = f"SELECT count(*) FROM vectors WHERE {where} AND {_KEY_OF} NOT IN ({', '.join('?' * len(names))})"  # noqa: S608
        return await self._thread.call(lambda one: int(one.execute(asked, [*values, *names]).fetchone()[0]))

    async def is_purged(self) -> bool:
        """Empty the log now; whether nothing of what was removed is in it any more. Raises `CacheError`."""
        return bool(await self._thread.submit(emptied, is_alone=True))

    # -- on the thread -------------------------------------------------------------------------------------------

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        self._measure(connection)

    def _put(self, connection: sqlite3.Connection, kept: Sequence[Kept]) -> None:
        now_s = time.time()
        for one in kept:  # a key may come twice: the last one stays
            self._delete(connection, "key = ?", [one.key])
            connection.execute(
                f"INSERT INTO vectors ({_COLUMNS}, used_s, size_bytes) VALUES ({', '.join('?' * 14)})",  # noqa: S608
                (*_values(one, self._seal), now_s, one.size_bytes),
            )
            self.rows += 1
            self.size_bytes += one.size_bytes
        self._delete(connection, "expires_s < ?", [now_s])
        if self.size_bytes > self._budget_bytes:
            self._make_room(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        self._measure(connection)  # others may have the file open
        too_much = self.size_bytes - int(self._budget_bytes * LEFT_SHARE)
        gone: list[int] = []
        for number, size_bytes in connection.execute("SELECT rowid, size_bytes FROM vectors ORDER BY used_s"):
            if too_much <= 0:
                break
            gone.append(number)
            too_much -= size_bytes
        for number in gone:
            self._delete(connection, "rowid = ?", [number])

    def _remove(self, connection: sqlite3.Connection, selection: Selection) -> int:
        return self._delete(connection, *_where(selection, self._seal))

    def _delete(self, connection: sqlite3.Connection, where: str, values: list[Any]) -> int:
        sizes = connection.execute(f"DELETE FROM vectors WHERE {where} RETURNING size_bytes", values).fetchall()  # noqa: S608
        self.rows -= len(sizes)
        self.size_bytes -= sum(size for (size,) in sizes)
        return len(sizes)

    def _measure(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT count(*), coalesce(sum(size_bytes), 0) FROM vectors").fetchone()
        self.rows, self.size_bytes = found


def _get(connection: sqlite3.Connection, keys: Sequence[bytes], seal: Seal) -> dict[bytes, Kept]:
    found: dict[bytes, Kept] = {}
    now_s, again = time.time(), list[tuple[float, bytes]]()
    for start in range(0, len(keys), TOGETHER):
        some = list(keys[start : start + TOGETHER])
        query = f"SELECT {_COLUMNS}, used_s FROM vectors WHERE key IN ({', '.join('?' * len(some))})"  # noqa: S608
        for *values, used_s in connection.execute(query, some):
            with suppress(Unsealed):  # its key may come back; what is broken is asked for again, and replaced
                found[bytes(values[0])] = _kept(values, seal)
            if now_s - used_s > USED_AGAIN_S:
                again.append((now_s, values[0]))
    if again:
        with suppress(sqlite3.OperationalError):  # a full disk: it was read all the same
            connection.executemany("UPDATE vectors SET used_s = ? WHERE key = ?", again)
    return found


def _where(selection: Selection, seal: Seal) -> tuple[str, list[Any]]:
    """What is meant, as SQL."""
    said = [(name, getattr(selection, name)) for name in ("tenant", "model", "revision")]
    parts: list[tuple[str, tuple[Any, ...]]] = [(f"{name} = ?", (value,)) for name, value in said if value is not None]
    if selection.before_s is not None:
        parts.append(("created_s <= ?", (selection.before_s,)))
    if selection.tag is not None:
        _among(parts, "EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN ({}))", selection.tag, seal)
    if selection.namespace is not None:
        _among(parts, "namespace IN ({})", selection.namespace, seal)
    return " AND ".join(part for part, _ in parts) or "1", [value for _, values in parts for value in values]


def _among(parts: list[tuple[str, tuple[Any, ...]]], term: str, word: str, seal: Seal) -> None:
    """`word` as it may be written."""
    words = tuple(dict.fromkeys((word, *seal.tokens(word))))
    parts.append((term.format(", ".join("?" * len(words))), words))


def _values(kept: Kept, seal: Seal) -> Iterable[Any]:
    code, data, namespace, tags = _shut(kept, seal)
    return (
        kept.key, code, data, kept.num_tokens, kept.tenant, kept.model, namespace,
        kept.revision, kept.created_s, kept.expires_s, kept.elapsed_s, tags,
    )  # fmt: skip


def _shut(kept: Kept, seal: Seal) -> tuple[str, bytes, str, str]:
    """Code, data, namespace and tags as they are written."""
    if not seal.name:
        return kept.vector.code, kept.vector.data, kept.namespace, orjson.dumps(kept.tags).decode()
    about = orjson.dumps({"namespace": kept.namespace, "tags": kept.tags})
    data = seal.seal(len(about).to_bytes(4, "little") + about + kept.vector.data, place("embedding", kept.key))
    tags = orjson.dumps([seal.tokens(tag)[0] for tag in kept.tags]).decode()
    return kept.vector.code + SEALED, data, seal.tokens(kept.namespace)[0] if kept.namespace else "", tags


def _kept(values: Sequence[Any], seal: Seal) -> Kept:
    """Raises `Unsealed`, also for what is broken."""
    try:
        return _read(values, seal)
    except Unsealed:
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Unsealed(f"a kept vector cannot be read: {error}") from error


def _read(values: Sequence[Any], seal: Seal) -> Kept:
    key, code, data, num_tokens, tenant, model, namespace, revision, created_s, expires_s, elapsed_s, tags = values
    said = {"namespace": namespace, "tags": orjson.loads(tags)}
    if code.endswith(SEALED):
        plain, code = seal.open(data, place("embedding", key)), code.removesuffix(SEALED)
        size = int.from_bytes(plain[:4], "little")
        said, data = orjson.loads(plain[4 : 4 + size]), plain[4 + size :]
    if len(data) % _SIZES[code]:
        raise ValueError(f"{len(data)} bytes are no numbers of {code!r}")
    return Kept(
        key, Vector(code, data), num_tokens, tenant, model, said["namespace"], revision, created_s, expires_s,
        elapsed_s, tuple(said["tags"]),
    )  # fmt: skip


def _reseal_some(connection: sqlite3.Connection, *, after: int, seal: Seal, done: Sealing) -> int | None:
    """Seal the next rows; the place reached, None at the end."""
    sql = f"SELECT rowid, {_COLUMNS} FROM vectors WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
    rows = connection.execute(sql, (after, ROWS)).fetchall()
    update = "UPDATE vectors SET code = ?, data = ?, namespace = ?, tags = ? WHERE rowid = ?"
    for number, *values in rows:
        is_sealed = values[1].endswith(SEALED)
        if (key_name(values[2]) if is_sealed else "") == seal.name:
            continue
        try:
            kept = _kept(values, seal)
        except Unsealed:
            done.lost += 1
            continue
        connection.execute(update, (*_shut(kept, seal), number))
        done.sealed += 1
    return int(rows[-1][0]) if rows else None
