"""Labels: which stored answers would have been right for which questions, as far as anybody found out.

They are what risk control stands on, so they outlive the process: one SQLite file, one thread that owns it. It holds
words of questions, so it is as private as the answers are: mode 0600, bounded, and the words go when the operator
removes the entry, or when the first of the two answers would have expired. The numbers stay.
"""

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.control import Label
from embeddings.control.support import FEATURES
from gateway.answers import file
from gateway.answers.base import CacheError
from gateway.answers.mended import MendedThread
from gateway.answers.purge import Purge, emptied
from gateway.answers.resealing import is_under, note, swept
from gateway.answers.thread import run_in_one_transaction
from gateway.seal import NO_SEAL, Seal
from gateway.semantic import label_words as sealing
from gateway.semantic.rule import LaneKey

log = logging.getLogger(__name__)

APPLICATION_ID = 0x54774C62  # "TwLb", in the file's header
VERSION = 2  # 1: features as they were when a lane counted fewer
ELIGIBLE, HIT, CORRECTS = 1, 2, 4  # bits of was_eligible
FEWEST_FEATURES = len(FEATURES) + 1  # and what was believed
TENANTS = 10  # times a tenant's share is what all of them may have: anybody can make up a name
TRIM_EVERY = 256  # labels
BUSY_S = 2.0

_SCHEMA = (
    """CREATE TABLE labels (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant TEXT NOT NULL, route TEXT NOT NULL, scope BLOB NOT NULL, entry TEXT NOT NULL,
        question TEXT NOT NULL, stored TEXT NOT NULL, words_until_s REAL, is_right INTEGER NOT NULL,
        source TEXT NOT NULL, probability REAL NOT NULL, features BLOB NOT NULL, was_eligible INTEGER NOT NULL,
        at_s REAL NOT NULL
    )""",
    "CREATE INDEX labels_by_lane ON labels (tenant, route, seq)",
    "CREATE INDEX labels_by_entry ON labels (scope, entry)",
    "CREATE INDEX labels_by_words ON labels (words_until_s) WHERE words_until_s IS NOT NULL",
)
_COLUMNS = "seq, scope, question, stored, entry, is_right, source, probability, features, was_eligible, at_s"


@dataclass(frozen=True, slots=True)
class Kept:
    """A label with its number in the file."""

    seq: int
    label: Label


@dataclass(frozen=True, slots=True)
class Given:
    """A label on its way into the file."""

    lane: LaneKey
    scope: bytes
    label: Label
    words_until_s: float | None = None  # None: as long as the label


class LabelStore:
    """Labels in the file `path`. Belongs to one event loop."""

    def __init__(self, path: Path, *, per_tenant: int, seal: Seal = NO_SEAL) -> None:
        self._path = path
        self._seal = seal
        self._resealing: asyncio.Task[None] | None = None
        self._per_tenant = per_tenant
        connect = partial(file.begun, path, BUSY_S, _migrate)
        self._thread = MendedThread(path, "labels", connect, run_in_one_transaction, max_waiting=4096, max_together=256)
        self._purge = Purge(self._thread)
        self._until_trim = 0

    async def open(self) -> None:
        """Open the file; a corrupt one is set aside and an empty one started. Raises `CacheError`."""
        await self._thread.open()
        if await self._thread.call(partial(is_under, seal=self._seal, table="labels", keys=sealing.KEYS)):
            return
        self._resealing = asyncio.create_task(self._reseal())

    async def close(self) -> None:
        """Write what waits and close the file."""
        if self._resealing is not None:
            self._resealing.cancel()
            await asyncio.wait([self._resealing])
        self._purge.close()
        await self._thread.close()

    async def _reseal(self) -> None:
        """Put the words of labels that were kept before under the key in use."""
        try:
            await swept(self._thread, self._seal, sealing.reseal_some, "labels", note)
        except CacheError as error:  # the next start goes on
            log.warning("not all of %s is sealed yet: %s", self._path, error)

    async def put(self, given: Given) -> int:
        """Keep a label; its number."""
        self._until_trim -= 1
        trim = self._per_tenant if self._until_trim < 0 else None
        if trim is not None:
            self._until_trim = TRIM_EVERY
        return await self._thread.call(partial(_put, given=given, trim=trim, seal=self._seal))

    async def read(self, lane: LaneKey) -> list[Kept]:
        """Every label of a lane, oldest first."""
        return await self._thread.call(partial(_read, lane=lane, seal=self._seal))

    async def lanes(self) -> Counter[LaneKey]:
        """Every lane that has labels, and how many."""
        return await self._thread.call(_lanes)

    async def forget(self, scope: bytes, entries: Sequence[str]) -> int:
        """Blank the words of every label of these entries; how many labels there were."""
        return self._blanked(await self._thread.call(partial(_forget, scope=scope, entries=tuple(entries))))

    async def count(self, tenant: str, *, with_words: bool = False) -> int:
        """How many labels a tenant has; with words, if only those are meant."""
        return await self._thread.call(partial(_count, tenant=tenant, with_words=with_words))

    async def erase(self, tenant: str) -> int:
        """Delete every label of a tenant; how many there were."""
        return self._blanked(await self._thread.call(partial(_erase, tenant=tenant)))

    async def blank(self, tenant: str) -> int:
        """Blank the words of every label of a tenant; how many had some."""
        return self._blanked(await self._thread.call(partial(_blank, tenant=tenant)))

    async def drop_before(self, at_s: float) -> int:
        """Delete what was learned before a moment; how many labels."""
        return self._blanked(await self._thread.call(partial(_drop_before, at_s=at_s)))

    async def is_purged(self) -> bool:
        """Empty the log now; whether nothing of what was removed is in it any more. Raises `CacheError`."""
        return bool(await self._thread.submit(emptied, is_alone=True))

    async def is_refused(self, scope: bytes, entry: str, question: str) -> bool:
        """Whether the last word of users on this entry's answer to this question is that it is wrong."""
        return await self._thread.call(
            partial(_is_refused, scope=scope, entry=entry, question=question, seal=self._seal)
        )

    async def tidy(self) -> int:
        """Blank words whose time is over; how many labels had some."""
        return self._blanked(await self._thread.call(partial(_expire, now_s=time.time())))

    def _blanked(self, count: int) -> int:
        if count:
            self._purge.soon()
        return count


def read_all(path: Path, seal: Seal = NO_SEAL) -> dict[LaneKey, list[Kept]]:
    """Every label of a file that no server has to have open, by lane. Raises `CacheError`."""
    if not path.is_file():
        raise CacheError(f"there is no {path}")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            is_old = _version(connection) < VERSION
            return {lane: _read(connection, lane, is_old=is_old, seal=seal) for lane in _lanes(connection)}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise CacheError(f"{path} cannot be read: {error}") from error


# -- on the thread -----------------------------------------------------------------------------------------------


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection)  # another process may have been faster
    if version == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    elif version == 1:  # as `_sound` has it
        only = f"was_eligible & {HIT | CORRECTS}"
        connection.execute(f"UPDATE labels SET features = x'', was_eligible = {only} WHERE length(features)")  # noqa: S608
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    """Of the schema; 0: there is none. Raises `CacheError` for a file that is not ours."""
    owner, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if (owner, version) not in ((0, 0), *((APPLICATION_ID, known) for known in range(1, VERSION + 1))):
        raise CacheError(f"the file of labels has schema {owner:#x}/{version}; this code knows {VERSION}")
    return int(version)


def _put(connection: sqlite3.Connection, given: Given, trim: int | None, seal: Seal = NO_SEAL) -> int:
    label = given.label
    question, stored = (sealing.shut(text, given.scope, label.entry, seal) for text in (label.question, label.stored))
    row = connection.execute(
        "INSERT INTO labels (tenant, route, scope, entry, question, stored, words_until_s, is_right, source,"
        " probability, features, was_eligible, at_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *given.lane, given.scope, label.entry, question, stored, given.words_until_s,
            int(label.is_right), label.source, label.probability, _pack(label.features), _bits(label),
            label.at_s,
        ),
    )  # fmt: skip
    seq = int(row.lastrowid or 0)
    if trim is not None:
        _trim(connection, given.lane.tenant, trim)
    return seq


def _trim(connection: sqlite3.Connection, tenant: str, keep: int) -> None:
    """Delete a tenant's oldest labels, and the oldest of all beyond what all may have."""
    connection.execute(
        "DELETE FROM labels WHERE tenant = ? AND seq <="
        " (SELECT seq FROM labels WHERE tenant = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (tenant, tenant, keep),
    )
    connection.execute("DELETE FROM labels WHERE seq <= (SELECT max(seq) FROM labels) - ?", (TENANTS * keep,))


def _read(connection: sqlite3.Connection, lane: LaneKey, *, is_old: bool = False, seal: Seal = NO_SEAL) -> list[Kept]:
    query = f"SELECT {_COLUMNS} FROM labels WHERE tenant = ? AND route = ? ORDER BY seq"  # noqa: S608 - our own names
    return [_kept(row, is_old=is_old, seal=seal) for row in connection.execute(query, lane)]


def _kept(row: tuple[Any, ...], *, is_old: bool, seal: Seal) -> Kept:
    seq, scope, question, stored, entry, is_right, source, probability, raw, bits, at_s = row
    features, bits = _sound(raw, bits, is_old=is_old)
    label = Label(
        sealing.opened(question, scope, entry, seal),
        sealing.opened(stored, scope, entry, seal),
        entry,
        bool(is_right),
        source,
        probability,
        features,
        bool(bits & ELIGIBLE),
        at_s,
        bool(bits & HIT),
        bool(bits & CORRECTS),
    )
    return Kept(seq, label)


def _sound(raw: bytes, bits: int, *, is_old: bool) -> tuple[tuple[float, ...], int]:
    """Features that a lane can learn from, and the bits. Without them the label is of no verdict any more, or it would
    pass for one of a bare form, which never has any."""
    if not raw:
        return (), bits
    if not is_old and len(raw) % 8 == 0 and len(raw) >= 8 * FEWEST_FEATURES and np.isfinite(_unpack(raw)).all():
        return _unpack(raw), bits
    return (), bits & ~ELIGIBLE


def _bits(label: Label) -> int:
    return ELIGIBLE * label.was_eligible + HIT * label.was_hit + CORRECTS * label.corrects


def _lanes(connection: sqlite3.Connection) -> Counter[LaneKey]:
    rows = connection.execute("SELECT tenant, route, count(*) FROM labels GROUP BY tenant, route").fetchall()
    return Counter({LaneKey(tenant, route): count for tenant, route, count in rows})


def _forget(connection: sqlite3.Connection, scope: bytes, entries: Sequence[str]) -> int:
    blank = "UPDATE labels SET question = '', stored = '', words_until_s = NULL WHERE scope = ? AND entry = ?"
    return sum(connection.execute(blank, (scope, entry)).rowcount for entry in entries)


def _is_refused(connection: sqlite3.Connection, scope: bytes, entry: str, question: str, seal: Seal = NO_SEAL) -> bool:
    said = (
        "SELECT question, is_right FROM labels WHERE scope = ? AND entry = ? AND source = 'feedback' ORDER BY seq DESC"
    )
    for asked, is_right in connection.execute(said, (scope, entry)):
        if sealing.opened(asked, scope, entry, seal) == question:
            return not is_right
    return False


_WORDS = "(question != '' OR stored != '')"


def _count(connection: sqlite3.Connection, tenant: str, *, with_words: bool) -> int:
    query = f"SELECT count(*) FROM labels WHERE tenant = ?{f' AND {_WORDS}' if with_words else ''}"  # noqa: S608
    return int(connection.execute(query, (tenant,)).fetchone()[0])


def _erase(connection: sqlite3.Connection, tenant: str) -> int:
    return int(connection.execute("DELETE FROM labels WHERE tenant = ?", (tenant,)).rowcount)


def _blank(connection: sqlite3.Connection, tenant: str) -> int:
    blank = f"UPDATE labels SET question = '', stored = '', words_until_s = NULL WHERE tenant = ? AND {_WORDS}"  # noqa: S608
    return int(connection.execute(blank, (tenant,)).rowcount)


def _drop_before(connection: sqlite3.Connection, at_s: float) -> int:
    return int(connection.execute("DELETE FROM labels WHERE at_s <= ?", (at_s,)).rowcount)


def _expire(connection: sqlite3.Connection, now_s: float) -> int:
    blank = "UPDATE labels SET question = '', stored = '', words_until_s = NULL WHERE words_until_s <= ?"
    return int(connection.execute(blank, (now_s,)).rowcount)


def _pack(features: Sequence[float]) -> bytes:
    return np.asarray(features, "<f8").tobytes()


def _unpack(raw: bytes) -> tuple[float, ...]:
    return tuple(np.frombuffer(raw, "<f8").tolist())
