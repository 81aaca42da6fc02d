"""Vectors in a SQLite file: what a restart does not forget. One thread owns the connection; the least recently used go.

No text is kept, only keyed digests of them. A file that is corrupt is set aside, and an empty one begun.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gateway.answers.base import CacheError
from gateway.answers.file import connect, set_aside
from gateway.answers.purge import Purge, emptied
from gateway.answers.selection import Selection
from gateway.answers.thread import BrokenFile, ConnectionThread, run_in_one_transaction
from gateway.embedded.kept import Kept, names_answers
from gateway.embedded.vector import Vector

BUSY_S = 2.0
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
_COLUMNS = "key, code, data, num_tokens, tenant, model, namespace, revision, created_s, expires_s, elapsed_s, tags"


class FileVectors:
    """As many as fit a budget of bytes. Open it once, close it once."""

    def __init__(self, path: Path, budget_bytes: int) -> None:
        self.size_bytes = 0  # as of the last write
        self.rows = 0
        self._path = path
        self._budget_bytes = budget_bytes
        self._thread = ConnectionThread(
            "vectors", self._connect, run_in_one_transaction, max_waiting=1024, max_together=32
        )
        self._purge = Purge(self._thread)

    async def open(self) -> None:
        """Make or open the file. Raises `CacheError`."""
        await self._thread.open()

    async def close(self) -> None:
        self._purge.close()
        await self._thread.close()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Those that are here."""
        return await self._thread.call(lambda connection: _get(connection, keys))

    async def put(self, kept: Sequence[Kept]) -> None:
        await self._thread.call(lambda connection: self._put(connection, kept))

    async def count(self, selection: Selection) -> int:
        """How many are meant."""
        if names_answers(selection):
            return 0
        where, values = _where(selection)
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

    async def is_purged(self) -> bool:
        """Empty the log now; whether nothing of what was removed is in it any more. Raises `CacheError`."""
        return bool(await self._thread.submit(emptied, is_alone=True))

    # -- on the thread -------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except BrokenFile as error:
            set_aside(self._path, str(error))
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise CacheError(f"vectors: {error}") from error
        connection = connect(self._path, BUSY_S)
        try:
            connection.executescript(_SCHEMA)
            self._measure(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            broken = BrokenFile if not isinstance(error, sqlite3.OperationalError) else CacheError
            raise broken(f"vectors: {error}") from error
        return connection

    def _put(self, connection: sqlite3.Connection, kept: Sequence[Kept]) -> None:
        now_s = time.time()
        for one in kept:  # a key may come twice: the last one stays
            self._delete(connection, "key = ?", [one.key])
            connection.execute(
                f"INSERT INTO vectors ({_COLUMNS}, used_s, size_bytes) VALUES ({', '.join('?' * 14)})",  # noqa: S608
                (*_values(one), now_s, one.size_bytes),
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
        return self._delete(connection, *_where(selection))

    def _delete(self, connection: sqlite3.Connection, where: str, values: list[Any]) -> int:
        sizes = connection.execute(f"DELETE FROM vectors WHERE {where} RETURNING size_bytes", values).fetchall()  # noqa: S608
        self.rows -= len(sizes)
        self.size_bytes -= sum(size for (size,) in sizes)
        return len(sizes)

    def _measure(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT count(*), coalesce(sum(size_bytes), 0) FROM vectors").fetchone()
        self.rows, self.size_bytes = found


def _get(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Kept]:
    found: dict[bytes, Kept] = {}
    now_s, again = time.time(), list[tuple[float, bytes]]()
    for start in range(0, len(keys), TOGETHER):
        some = list(keys[start : start + TOGETHER])
        query = f"SELECT {_COLUMNS}, used_s FROM vectors WHERE key IN ({', '.join('?' * len(some))})"  # noqa: S608
        for *values, used_s in connection.execute(query, some):
            kept = _kept(values)
            found[kept.key] = kept
            if now_s - used_s > USED_AGAIN_S:
                again.append((now_s, kept.key))
    if again:
        with suppress(sqlite3.OperationalError):  # a full disk: it was read all the same
            connection.executemany("UPDATE vectors SET used_s = ? WHERE key = ?", again)
    return found


def _where(selection: Selection) -> tuple[str, list[Any]]:
    """What is meant, as SQL."""
    said = [(name, getattr(selection, name)) for name in ("tenant", "model", "namespace", "revision")]
    parts = [(f"{name} = ?", value) for name, value in said if value is not None]
    if selection.before_s is not None:
        parts.append(("created_s <= ?", selection.before_s))
    if selection.tag is not None:
        parts.append(("EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)", selection.tag))
    return " AND ".join(part for part, _ in parts) or "1", [value for _, value in parts]


def _values(kept: Kept) -> Iterable[Any]:
    return (
        kept.key, kept.vector.code, kept.vector.data, kept.num_tokens, kept.tenant, kept.model, kept.namespace,
        kept.revision, kept.created_s, kept.expires_s, kept.elapsed_s, orjson.dumps(kept.tags).decode(),
    )  # fmt: skip


def _kept(values: Sequence[Any]) -> Kept:
    key, code, data, num_tokens, tenant, model, namespace, revision, created_s, expires_s, elapsed_s, tags = values
    return Kept(
        key, Vector(code, data), num_tokens, tenant, model, namespace, revision, created_s, expires_s, elapsed_s,
        tuple(orjson.loads(tags)),
    )  # fmt: skip
