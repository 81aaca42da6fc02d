"""Uses of stored answers, and the ends they moved: written together now and then, for no hit is worth a transaction."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from gateway.answers.base import CacheError
from gateway.answers.tally import Ends, Tally
from gateway.answers.thread import ConnectionThread

log = logging.getLogger(__name__)

Write = Callable[[sqlite3.Connection, Mapping[str, int], Ends], None]


class Uses:
    """What `thread` has still to write. Belongs to one event loop; what is lost in a crash is lost."""

    def __init__(self, thread: ConnectionThread, write: Write, every_s: float, failed: Callable[[], None]) -> None:
        """`failed` is told when some are lost."""
        self._thread = thread
        self._write = write
        self._every_s = every_s
        self._failed = failed
        self._unwritten = Tally()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, entry_id: str, times: int = 1) -> None:
        """An entry was used."""
        if self._unwritten.count(entry_id, times):
            self._soon()

    def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        """A use moved an entry's end."""
        if self._unwritten.prolong(scope, entry_id, expires_s):
            self._soon()

    def flush(self) -> None:
        """Write what there is, behind what waits."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        hits, ends = self._unwritten.take()
        try:
            done = self._thread.submit(lambda connection: self._write(connection, hits, ends))
        except CacheError as error:
            self._lost(error)
        else:
            done.add_done_callback(self._written)

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self.flush)

    def _written(self, done: "asyncio.Future[Any]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        self._failed()
        log.warning("hits could not be counted: %s", error)
