"""A small or full disk under a store: its log stays small beside what is free, and what is new goes where old answers
were, so that the file need not grow. A log that has taken the last of the disk could not be taken in any more: that
needs room in the file.
"""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from gateway.answers.purge import emptied

log = logging.getLogger(__name__)

PAGE_BYTES = 4096
MOST_LOG_BYTES = 64 * 2**20  # that stay on the disk
LOG_PAGES = 1000  # after which SQLite takes the log in, and the fewest
LEAST_LOG_PAGES = 16
LOG_SHARE = 16  # of what is free, one part
SPARE_SHARE = 8  # of the file, the largest part that is let go: it may be somebody else who fills the disk
RELIEF_EVERY_S = 1.0  # where the last one did not help


def free_bytes(path: Path) -> int:
    """What the disk under `path` still takes; of one that does not tell, anything."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return MOST_LOG_BYTES * LOG_SHARE


def bound_log(connection: sqlite3.Connection, path: Path) -> None:
    """Keep the log of this connection small beside what is free."""
    share = free_bytes(path) // LOG_SHARE
    connection.execute(f"PRAGMA journal_size_limit = {max(LEAST_LOG_PAGES * PAGE_BYTES, min(MOST_LOG_BYTES, share))}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {max(LEAST_LOG_PAGES, min(LOG_PAGES, share // PAGE_BYTES))}")


def lacking_bytes(connection: sqlite3.Connection, path: Path, *, is_full: bool = False) -> int:
    """What has to be let go inside the file before the disk is full; nothing where that has room for two logs."""
    (log_pages,) = connection.execute("PRAGMA wal_autocheckpoint").fetchone()
    if not is_full and free_bytes(path) >= 2 * log_pages * PAGE_BYTES:
        return 0
    (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return int(max(0, min(log_pages, pages // SPARE_SHARE) - free_pages)) * PAGE_BYTES


class Relief:
    """What is done when a disk is full. Of the writer's thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._vain_s: float | None = None  # when it last was in vain

    def is_worth_it(self) -> bool:
        return self._vain_s is None or self._now() - self._vain_s >= RELIEF_EVERY_S

    def has_helped(self, *, helped: bool) -> None:
        self._vain_s = None if helped else self._now()


def take_log_in(connection: sqlite3.Connection) -> None:
    """Into the file, as far as that can be done."""
    try:
        emptied(connection)
    except sqlite3.Error as error:
        log.debug("the log of a store cannot be taken in: %s", error)
