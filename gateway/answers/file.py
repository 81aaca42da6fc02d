"""The database file itself: private to its owner, opened the same way everywhere, set aside when it is broken."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from gateway.answers import disk
from gateway.answers.base import CacheError
from gateway.answers.schema import migrate
from gateway.answers.thread import BrokenFile, cache_error

log = logging.getLogger(__name__)

READ_BYTES = 64 * 2**20  # of a file are read before it is served from
_COMPANIONS = ("", "-wal", "-shm")
_NO_TEXT = "it holds bytes where text belongs"  # in a name of the schema, which SQLite quotes, and Python cannot read


def connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection for the thread that calls this. Raises `CacheError`."""
    try:
        return _connect(path, busy_timeout_s)
    except sqlite3.Error as error:
        raise cache_error(error) from error


def begun(path: Path, busy_timeout_s: float, prepare: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
    """A connection to a small file of ours, which nobody else reads; `prepare` gives it its tables. What is corrupt is
    set aside, and an empty one begun. Raises `CacheError`."""
    try:
        try:
            return _prepared(path, busy_timeout_s, prepare)
        except BrokenFile as error:
            set_aside(path, str(error))
            return _prepared(path, busy_timeout_s, prepare)
    except OSError as error:
        raise cache_error(error) from error


def _prepared(path: Path, busy_timeout_s: float, prepare: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
    _make_private(path)
    connection = connect(path, busy_timeout_s)
    try:
        prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        raise cache_error(error) from error
    except CacheError:
        connection.close()
        raise
    return connection


def identity(path: Path) -> tuple[int, int] | None:
    """What tells the file at `path` from another one under the same name; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
    try:
        _enter_wal(connection, busy_timeout_s)
        connection.execute("PRAGMA cache_size = -1024")  # KiB; of three connections, over the system's own cache
        connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut, the last puts
        disk.bound_log(connection, path)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA secure_delete = ON")  # what is removed or blanked is not left behind in the file
    except sqlite3.Error:
        connection.close()
        raise
    except UnicodeError as error:
        connection.close()
        raise _corrupt(_NO_TEXT) from error
    return connection


def _enter_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Switch to WAL. Two processes that make one file meet here, and SQLite's own busy timeout does not cover it."""
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def check(path: Path, busy_timeout_s: float, read_bytes: int = READ_BYTES) -> None:
    """Make `path` an answer store of the newest schema, unless it is one. Raises `sqlite3.Error`, `OSError`, and
    `CacheError` when there can be no store here.

    A file of up to `read_bytes` is read through. A larger one is not: that would take minutes in which nothing is
    served, and what is broken in it is met by who reads it, told from what was written, and mended then.
    """
    _make_private(path)
    connection = _connect(path, busy_timeout_s)
    try:
        if path.stat().st_size <= read_bytes:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise _corrupt(verdict)
        migrate(connection)
    except UnicodeError as error:
        raise _corrupt(_NO_TEXT) from error
    finally:
        connection.close()


def _corrupt(why: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _make_private(path: Path) -> None:
    """An empty file nobody else can read, in a directory nobody else can enter; SQLite's companions inherit it."""
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def set_aside(path: Path, why: str) -> Path:
    """Move a corrupt file away, for whoever wants to know what happened to it; where it is."""
    moved = path.with_name(f"{path.name}.corrupt-{time.time_ns() // 1_000_000}")
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(moved.with_name(moved.name + companion))
    log.error("%s is corrupt (%s): moved to %s, beginning a new one", path, why, moved.name)
    return moved
