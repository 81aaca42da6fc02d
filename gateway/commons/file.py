"""Witnesses in a file of this gateway alone: `data_dir/commons.db`. It holds keyed hashes, and no words."""

import sqlite3
import time
from functools import partial
from pathlib import Path

from gateway.answers import file
from gateway.answers.base import CacheError
from gateway.answers.mended import MendedThread
from gateway.answers.thread import run_in_one_transaction
from gateway.commons.witnesses import MOST, Forgotten, Heard, Statement, of_tenant

APPLICATION_ID = 0x54774377  # "TwCw", in the file's header
VERSION = 1
BUSY_S = 2.0
TRIM_EVERY = 256  # notes

_SCHEMA = (
    """CREATE TABLE witnesses (
        request BLOB NOT NULL, witness BLOB NOT NULL, scope BLOB NOT NULL, least INTEGER NOT NULL,
        objects INTEGER NOT NULL, at_s REAL NOT NULL,
        PRIMARY KEY (request, witness)
    ) WITHOUT ROWID""",
    "CREATE INDEX witnesses_by_age ON witnesses (at_s)",
)


class FileWitnesses:
    """Belongs to one event loop."""

    def __init__(self, path: Path, *, most: int = MOST) -> None:
        self._most = most
        self._thread = MendedThread(
            path,
            "commons",
            partial(file.begun, path, BUSY_S, _migrate),
            run_in_one_transaction,
            max_waiting=4096,
            max_together=256,
        )
        self._until_trim = 0

    async def open(self) -> None:
        """Open the file; a corrupt one is set aside and an empty one started. Raises `CacheError`."""
        if not self._thread.is_open:
            await self._thread.open()

    async def close(self) -> None:
        await self._thread.close()

    async def note(self, one: Statement) -> Heard:
        self._until_trim -= 1
        most = self._most if self._until_trim < 0 else None
        if most is not None:
            self._until_trim = min(TRIM_EVERY, self._most)
        return await self._thread.call(partial(_note, one=one, most=most, now_s=time.time()))

    async def object(self, one: Statement, *, objects: bool) -> None:
        await self._thread.call(partial(_object, one=one, objects=objects, now_s=time.time()))

    async def heard(self, request: bytes, witness: bytes) -> Heard:
        return await self._thread.call(partial(_heard, request=request, witness=witness))

    async def forget(self, secret: bytes, tenant: str) -> Forgotten:
        return await self._thread.call(partial(_forget, secret=secret, tenant=tenant))

    async def size(self) -> int:
        return await self._thread.call(_size)


# -- on the thread -----------------------------------------------------------------------------------------------


def _note(connection: sqlite3.Connection, one: Statement, most: int | None, now_s: float) -> Heard:
    connection.execute(
        "INSERT INTO witnesses VALUES (?, ?, ?, ?, 0, ?) ON CONFLICT DO UPDATE SET at_s = excluded.at_s",
        (one.request, one.witness, one.scope, one.least, now_s),
    )
    if most is not None:
        connection.execute(
            "DELETE FROM witnesses WHERE at_s <= (SELECT at_s FROM witnesses ORDER BY at_s DESC LIMIT 1 OFFSET ?)",
            (most,),
        )
    return _heard(connection, one.request, one.witness)


def _heard(connection: sqlite3.Connection, request: bytes, witness: bytes) -> Heard:
    found = connection.execute(
        "SELECT objects FROM witnesses WHERE request = ? AND witness = ?", (request, witness)
    ).fetchone()
    return Heard(_count(connection, request), found is not None and bool(found[0]))


def _count(connection: sqlite3.Connection, request: bytes) -> int:
    """Who objects may have asked in other words, and vouches for nothing."""
    query = "SELECT count(*) FROM witnesses WHERE request = ? AND NOT objects"
    return int(connection.execute(query, (request,)).fetchone()[0])


def _object(connection: sqlite3.Connection, one: Statement, *, objects: bool, now_s: float) -> None:
    if objects:
        connection.execute(
            "INSERT INTO witnesses VALUES (?, ?, ?, ?, 1, ?)"
            " ON CONFLICT DO UPDATE SET objects = 1, at_s = excluded.at_s",
            (one.request, one.witness, one.scope, one.least, now_s),
        )
    else:  # whether it had asked before is not known any more
        connection.execute("DELETE FROM witnesses WHERE request = ? AND witness = ?", (one.request, one.witness))


def _forget(connection: sqlite3.Connection, secret: bytes, tenant: str) -> Forgotten:
    pairs = of_tenant(secret, tenant, connection.execute("SELECT request, witness FROM witnesses").fetchall())
    too_few = []
    for request, witness in pairs:
        scope, least, objects = connection.execute(
            "DELETE FROM witnesses WHERE request = ? AND witness = ? RETURNING scope, least, objects",
            (request, witness),
        ).fetchone()
        if not objects and _count(connection, request) < least:
            too_few.append((scope, request))
    return Forgotten(len(pairs), too_few)


def _size(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM witnesses").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    owner, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if (owner, version) == (APPLICATION_ID, VERSION):
        return
    if (owner, version) != (0, 0):
        raise CacheError(f"the file of witnesses has schema {owner:#x}/{version}; this code knows {VERSION}")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # another process may have been faster
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
