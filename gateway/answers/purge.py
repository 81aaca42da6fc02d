"""Removed words leave the disk: the write-ahead log is taken in and emptied soon after, behind everybody's back.

SQLite zeroes what is deleted in the file (`secure_delete`), but the log beside it holds the pages as they were until
they are overwritten by chance, or the last process closes the file.
"""

import asyncio
import logging
import sqlite3
from typing import Any

from gateway.answers.base import CacheError
from gateway.answers.thread import ConnectionThread

log = logging.getLogger(__name__)

AFTER_S = 0.5  # what is removed meanwhile goes with it
AGAIN_S = 30.0  # at most between two tries, while somebody else reads the log


class Purge:
    """Of the file that a thread writes. Belongs to one event loop."""

    def __init__(self, thread: ConnectionThread, after_s: float = AFTER_S) -> None:
        self._thread = thread
        self._after_s = after_s
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Something was removed that must not be found on the disk."""
        self._again(self._after_s)

    def close(self) -> None:
        """Do at once what is owed, behind what waits to be written."""
        if self._timer is not None:
            self._begin(self._after_s)

    def _again(self, after_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._begin, after_s)

    def _begin(self, after_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        try:
            done = self._thread.submit(emptied, is_alone=True)
        except CacheError as error:  # closed, or too much is waiting
            self._failed(error, after_s)
            return
        done.add_done_callback(lambda done: self._done(done, after_s))

    def _done(self, done: "asyncio.Future[Any]", after_s: float) -> None:
        if done.cancelled():
            return
        if (error := done.exception()) is not None or not done.result():
            self._failed(error, after_s)

    def _failed(self, error: BaseException | None, after_s: float) -> None:
        if error is not None:
            log.warning("removed words are still in the log of a store: %s", error)
        if self._thread.is_open:
            self._again(min(AGAIN_S, 2 * after_s))


def emptied(connection: sqlite3.Connection) -> bool:
    """Take the log into the file, and leave nothing of it; False while somebody reads it. Waits for nobody."""
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return not is_busy
