"""A corrupt answers file is set aside, and what can be trusted of it is taken over into the new one.

A page of SQLite has no checksum, so a row that can be read may still say something else than was written, or be of
somebody else: it is taken over only if its own mark agrees (`gateway.answers.marks`), or if it is sealed, which is
checked when it is opened. Vectors are made anew, verdicts are not taken over.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gateway.answers import file
from gateway.answers.marks import MARKED, Marks
from gateway.answers.thread import cache_error, is_broken

log = logging.getLogger(__name__)

WITHIN_S = 15.0  # the store is away meanwhile
TOGETHER = 256  # rows of one transaction
MOST_FAILURES = 50_000  # looks at pages that cannot be read
STEADY = 32  # failures in a row, and as many more, after which the steps over what is broken become twice as large
DOUBLINGS = 34  # then there is nothing behind it
_LEFT_OUT = ("seq", "embedder", "vector")


def prepare(path: Path, busy_timeout_s: float, marks: Marks, read_bytes: int = file.READ_BYTES) -> int | None:
    """Make `path` a sound answer store of the newest schema. None when it was one; else how many answers were taken
    over of a file that had to be set aside. Raises `CacheError` when there can be no store here."""
    try:
        file.check(path, busy_timeout_s, read_bytes)
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            raise cache_error(error) from error
        return replace(path, str(error), busy_timeout_s, marks)
    except OSError as error:
        raise cache_error(error) from error
    return None


def replace(path: Path, why: str, busy_timeout_s: float, marks: Marks) -> int:
    """Set the file aside and begin a new one with what can be trusted of it; how many answers. Raises `CacheError`."""
    try:
        aside = file.set_aside(path, why)
        file.check(path, busy_timeout_s)
        taken = _take_over(aside, path, busy_timeout_s, marks)
    except (sqlite3.Error, OSError, UnicodeError) as error:
        raise cache_error(error) from error
    log.warning("%d answers of %s were taken over", taken, aside.name)
    return taken


def _take_over(aside: Path, path: Path, busy_timeout_s: float, marks: Marks) -> int:
    taken, ahead = 0, aside.with_name(aside.name + "-wal")
    how = "mode=ro" if ahead.exists() and ahead.stat().st_size else "immutable=1"  # that makes no companions
    with (
        closing(sqlite3.connect(f"{aside.resolve().as_uri()}?{how}", uri=True, timeout=0)) as old,
        closing(file.connect(path, busy_timeout_s)) as new,
    ):
        try:
            names = _shared_columns(old, new)
        except (sqlite3.DatabaseError, UnicodeError):  # not even what is in it can be read
            return 0
        if not {*MARKED, "seal", "checksum"} <= set(names):
            return 0
        put = f"INSERT OR IGNORE INTO entries ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        for rows in _together(_readable(old, names, marks)):
            new.execute("BEGIN IMMEDIATE")
            for row in rows:
                with suppress(sqlite3.IntegrityError):  # a cell of another type than its column has
                    taken += new.execute(put, row).rowcount
            new.execute("COMMIT")
    return taken


def _shared_columns(old: sqlite3.Connection, new: sqlite3.Connection) -> list[str]:
    there, here = ([name for _, name, *_ in one.execute("PRAGMA table_info(entries)")] for one in (old, new))
    return [name for name in here if name in there and name not in _LEFT_OUT]


def _readable(old: sqlite3.Connection, names: Sequence[str], marks: Marks) -> Iterator[tuple[Any, ...]]:
    """Rows that can be read and trusted, stepping over what cannot."""
    sql = f"SELECT seq, {', '.join(names)} FROM entries WHERE seq > ? ORDER BY seq LIMIT 1"  # noqa: S608
    until_s, last = time.monotonic() + WITHIN_S, _last(old)
    at = failures = in_a_row = 0
    while time.monotonic() < until_s and failures < MOST_FAILURES and (last is None or at < last):
        try:
            found = old.execute(sql, (at,)).fetchone()
        except (sqlite3.DatabaseError, UnicodeError, OverflowError):
            failures, in_a_row = failures + 1, in_a_row + 1
            at += 1 << in_a_row // STEADY
            if in_a_row >= STEADY * DOUBLINGS:
                return
            continue
        if found is None:
            return
        at, in_a_row = max(at + 1, found[0]), 0  # of a page that is another, what comes is not in order
        row = dict(zip(names, found[1:], strict=True))
        if (row["seal"] or row["checksum"] is not None) and marks.is_ours(row):
            yield found[1:]


def _last(old: sqlite3.Connection) -> int | None:
    """The last row's number; None when nobody knows."""
    try:
        found: tuple[int | None] = old.execute("SELECT max(seq) FROM entries").fetchone()
    except (sqlite3.DatabaseError, UnicodeError):
        return None
    return found[0] or 0


def _together(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    some: list[tuple[Any, ...]] = []
    for row in rows:
        some.append(row)
        if len(some) == TOGETHER:
            yield some
            some = []
    yield some
