"""Whether a row in plain says what a gateway of ours wrote: each bears a mark under the server's secret.

    mark            of what an entry says, whose it is and where it lies: copied to another place it is none
    -marked         a file beside the answers: every row that was here before marks has got one, or is none

Earlier versions kept a checksum without a secret, the oldest none at all: whoever writes the file can make those. They
are taken over once (`adopt`), behind everybody's back, and are served meanwhile; with the file `-marked` there is no
way back, whatever the database says of itself. A sealed row has no mark: what it says is verified when it is opened.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import blake2b
from hmac import compare_digest
from operator import itemgetter
from pathlib import Path
from typing import Any

from gateway.answers.thread import is_broken

log = logging.getLogger(__name__)

ROWS = 64  # of one transaction
PAUSE_S = 0.005  # between two, for those that wait
MARK_BYTES = 16
SAID = ("scope", "exact", "compat", "id", "tenant", "namespace", "model", "revision", "schema", "alias_of", "created_s",
        "question", "tags", "canonical", "completion")  # fmt: skip
_SHORT = ("scope", "exact", "compat", "id", "tenant", "namespace", "model", "revision", "schema", "alias_of",
          "question", "tags", "origin")  # fmt: skip
_NUMBERS = ("created_s", "elapsed_s", "sliding_s")  # which the database makes real ones
_LONG = ("canonical", "completion")
MARKED = (*_SHORT, *_NUMBERS, *_LONG)
_short, _numbers, _long = itemgetter(*_SHORT), itemgetter(*_NUMBERS), itemgetter(*_LONG)
_READ = f"SELECT {', '.join((*MARKED, 'seal', 'checksum'))} FROM entries WHERE seq = ?"  # noqa: S608

Row = Mapping[str, Any]
Call = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class Marks:
    """Makes marks, and tells whose row is ours. `takes_old`: a row with the checksum of an earlier version is, too."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(key=secret, digest_size=32, person=b"answer marks").digest()
        self.takes_old = False  # written by the loop, read by the threads

    def of(self, row: Row) -> bytes:
        """Of what a row says in plain. Not of what changes: uses, verdicts, its end, its vector."""
        numbers = [float(value) if isinstance(value, int) else value for value in _numbers(row)]
        canonical, completion = map(_as_bytes, _long(row))
        # a literal of Python, escaped: no two rows have the same, and it costs less than to spell cell by cell
        short = ascii((*_short(row), *numbers, len(canonical), len(completion))).encode()
        digest = blake2b(short, key=self._key, digest_size=MARK_BYTES)
        digest.update(canonical)
        digest.update(completion)
        return digest.digest()

    def is_ours(self, row: Row) -> bool:
        """Whether a row is as a gateway with this secret wrote it, or sealed: then its seal tells."""
        if row["seal"]:
            return True
        said = row["checksum"]
        if isinstance(said, bytes) and len(said) == MARK_BYTES:
            return compare_digest(said, self.of(row))
        return self.takes_old and (said is None or said == old_checksum(row))


def old_checksum(row: Row) -> bytes:
    """As earlier versions wrote it: anybody can."""
    raws = [spelled(row[name]) for name in SAID]
    return blake2b(b"".join([b"%d:" % len(raw) + raw for raw in raws]), digest_size=8).digest()


def _as_bytes(value: Any) -> bytes:
    """Of a page that broke there may be anything in a column of bytes; that is no answer of ours."""
    return value if isinstance(value, bytes) else b"\0" + spelled(value)


def spelled(value: Any) -> bytes:
    """A cell as bytes, the same with every Python, and whatever a broken page has made of it."""
    match value:
        case bytes():
            return b"b" + value
        case str():
            return b"s" + value.encode("utf-8", "surrogatepass")
        case int() | float():
            return b"n" + repr(float(value)).encode()
    return b"0"


def is_marked(path: Path) -> bool:
    """Whether all rows of the answers file `path` have their marks."""
    return _note_of(path).exists()


def note_marked(path: Path) -> None:
    """From now on a row without a mark is none. Raises `OSError`."""
    _note_of(path).touch(mode=0o600)


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + "-marked")


async def adopt(call: Call, marks: Marks) -> int:
    """Give the rows of earlier versions their marks, a few at a time; how many. `call` does work on the writer's
    connection. Raises `CacheError`; what was done until then is done."""
    marked, at = 0, 0
    while True:
        step: tuple[int, int] | None = await call(partial(_adopt_some, after=at, marks=marks))
        if step is None:
            return marked
        at, marked = step[0], marked + step[1]
        await asyncio.sleep(PAUSE_S)


def _adopt_some(connection: sqlite3.Connection, after: int, marks: Marks) -> tuple[int, int] | None:
    """The next rows: the place reached, and how many got a mark; None at the end."""
    sql = "SELECT seq FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
    seqs = [seq for (seq,) in connection.execute(sql, (after, ROWS))]
    if not seqs:
        return None
    return seqs[-1], sum(_adopt_row(connection, seq, marks) for seq in seqs)


def _adopt_row(connection: sqlite3.Connection, seq: int, marks: Marks) -> bool:
    """What says something else than was written gets no mark, and is met by who asks for it."""
    try:
        found = connection.execute(_READ, (seq,)).fetchone()
    except sqlite3.DatabaseError as error:
        if is_broken(error):
            raise
        return False  # a text that is none
    row = dict(zip((*MARKED, "seal", "checksum"), found, strict=True))
    is_old = not isinstance(row["checksum"], bytes) or len(row["checksum"]) != MARK_BYTES
    if row["seal"] or not is_old or not marks.is_ours(row):
        return False
    connection.execute("UPDATE entries SET checksum = ? WHERE seq = ?", (marks.of(row), seq))
    return True


def num_unmarked(connection: sqlite3.Connection) -> int:
    """Rows in plain without a mark."""
    sql = "SELECT count(*) FROM entries WHERE seal = '' AND (checksum IS NULL OR length(checksum) <> ?)"
    return int(connection.execute(sql, (MARK_BYTES,)).fetchone()[0])
