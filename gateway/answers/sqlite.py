"""Answers in one SQLite file: they outlive the process.

    reader thread   its own connection: get, by_id, size
    clerk thread    its own connection: what reads every row, at a start or for an operator: no request waits for it
    writer thread   its own connection: what waits together is one transaction, and every put returns after its commit

One thread alone writes and checkpoints, so SQLite's WAL-reset bug (fixed in 3.51.3) cannot be met inside a process.
WAL lets readers go on while a write runs, in this process or another on the same file. Trouble (locked, disk full)
is a `CacheError` of the call that met it; the next call starts afresh. A row that cannot be read is a miss, and is
deleted. A file that is corrupt is set aside, at start or while running, and what can be trusted of it is taken over
(`gateway.answers.salvage`); one that somebody deleted is made again. The server goes on meanwhile, without the store.
What a transaction is, and the upkeep that rides on it, stands in `gateway.answers.writing`.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.answers import catalog, file, salvage, sealed, table, upkeep
from gateway.answers.base import CacheError, Embedded, Entry, Figures, Gone, Tally, Unembedded, Verdict
from gateway.answers.generation import Generation
from gateway.answers.marks import Marks, adopt, is_marked, note_marked, num_unmarked
from gateway.answers.memory import KEEP_STALE_S
from gateway.answers.purge import Purge, emptied
from gateway.answers.resealing import LOOK_S, has_older, is_settled, note_key, reseal
from gateway.answers.selection import Listed, Page, Selection
from gateway.answers.thread import (
    BrokenFile,
    ConnectionThread,
    SickFile,
    Work,
    cache_error,
    run_each,
)
from gateway.answers.uses import Uses
from gateway.answers.writing import Budget, SqliteStats, Writing
from gateway.seal import NO_SEAL, Seal

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE_ROWS = 512  # of `embedded` at most: about 1 MB of vectors at a time
HITS_EVERY_S = 1.0
REMOVE_ROWS = 512  # of an invalidation in one transaction, so that puts go on between them
READ_S = 2.0  # a request goes on without the store when that is silent for so long
SICK_S = 5.0  # a disk that refuses writes for so long is tried with a new connection
MEND_AGAIN_S = 0.2  # until the next try to open the file, and twice as long each time
MEND_SELDOM_S = 15.0
YIELDS_S = 0.02  # that a page of many rows waits for lookups at most


class SqliteAnswers:
    """An `Answers` store in the file `path`. Belongs to one event loop."""

    def __init__(
        self,
        path: Path,
        *,
        budget_bytes: int | None,
        tenant_bytes: int | None = None,
        policy: str = "cost",
        seed: int = 0,
        keep_stale_s: float = KEEP_STALE_S,
        busy_timeout_s: float = 2.0,
        hits_every_s: float = HITS_EVERY_S,
        max_waiting: int = 4096,
        read_s: float = READ_S,
        sick_s: float = SICK_S,
        now: Callable[[], float] = time.time,
        seal: Seal = NO_SEAL,
        look_s: float = LOOK_S,
        read_bytes: int = file.READ_BYTES,
        secret: bytes = b"",
        takes_old: bool | None = None,
    ) -> None:
        """`takes_old`: what an earlier version kept is taken over, once; unless it is said, where nothing is sealed.
        With a seal there should be nothing left in plain, and whoever writes the disk could say that there is."""
        self._path = path
        self._seal = seal
        self._marks = Marks(secret)
        self._takes_old = not seal.name if takes_old is None else takes_old
        self._budget = Budget(budget_bytes, tenant_bytes, policy)
        self._keep_stale_s = keep_stale_s
        self._busy_timeout_s = busy_timeout_s
        self._now = now
        self._generation = Generation(path.with_name(path.name + "-generation"))
        self.stats = SqliteStats()
        self._writing = Writing(
            path, self._budget, self._generation, self._marks, now, self._horizon_s, seed, self.stats
        )
        connect = partial(sealed.connect, path, busy_timeout_s, seal)
        self._reader = ConnectionThread(
            "answers-reader", connect, run_each, max_waiting=max_waiting, max_together=32, patience_s=read_s
        )
        self._clerk = ConnectionThread("answers-clerk", connect, run_each, max_waiting=256, max_together=8)
        self._writer = ConnectionThread(
            "answers-writer", connect, self._writing.run, max_waiting=max_waiting, max_together=256
        )
        self._purge = Purge(self._writer)
        self._uses = Uses(self._writer, self._writing.add_uses, hits_every_s, self._failed)
        self._repair: asyncio.Task[None] | None = None
        self._sick_s = sick_s
        self._is_away = False  # while the file is opened anew
        self._sick_since_s: float | None = None  # since when nothing could be written
        self._resealing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._look_s = look_s
        self._read_bytes = read_bytes  # a file that is larger is not read through when it is opened

    async def open(self) -> None:
        """Check, migrate and open the file; a corrupt one is set aside and an empty one started."""
        self._marks.takes_old = self._takes_old and not is_marked(self._path)
        taken = await asyncio.to_thread(
            salvage.prepare, self._path, self._busy_timeout_s, self._marks, self._read_bytes
        )
        if taken is not None:
            self._note_corrupt(taken)
        self._writing.opened()
        try:
            self._generation.open()
            for thread in (self._writer, self._reader, self._clerk):
                await thread.open()
            is_settled = await self._writer.call(self._adopt)
        except (CacheError, OSError) as error:
            await self._close_threads()
            if isinstance(error, OSError):
                raise cache_error(error) from error
            raise
        if self._marks.takes_old or not is_settled:
            self._resealing = asyncio.create_task(self._take_up(is_settled=is_settled))
        if self._seal.older:
            self._looking = asyncio.create_task(self._look_for_older())

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        return await self._read_entry(
            partial(
                table.find, scope=scope, exact=exact, horizon_s=self._horizon_s(), marks=self._marks, seal=self._seal
            )
        )

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        return await self._read_entry(
            partial(
                table.find_by_id,
                scope=scope,
                entry_id=entry_id,
                horizon_s=self._horizon_s(),
                marks=self._marks,
                seal=self._seal,
            )
        )

    async def peek(self, scope: bytes, exact: bytes) -> Entry | None:
        return await self.get(scope, exact)

    async def owned(self, tenant: str, entry_id: str) -> Entry | None:
        return await self._read_entry(
            partial(
                table.find_owned,
                tenant=tenant,
                entry_id=entry_id,
                horizon_s=self._horizon_s(),
                marks=self._marks,
                seal=self._seal,
            )
        )

    async def put(self, entry: Entry) -> None:
        row = table.row_of(entry, self._seal)
        for whose, budget in (("the whole", self._budget.whole_bytes), ("a tenant's", self._budget.tenant_bytes)):
            if budget is not None and row["size_bytes"] > budget:
                raise CacheError(f"entry {entry.id} has {row['size_bytes']} bytes, {whose} budget {budget}")
        await self._call(self._writer, partial(self._writing.put, row=row))
        self.stats.puts += 1

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        return bool(await self._remove(partial(table.remove, scope=scope, entry_id=entry_id)))

    async def remove_all(self, selection: Selection) -> list[Gone]:
        await self._call(self._writer, catalog.nothing)  # what waits to be written is seen then
        chosen: list[tuple[int, float]] = await self._call(
            self._clerk, partial(catalog.places, selection=selection, seal=self._seal)
        )
        gone: list[Gone] = []
        for start in range(0, len(chosen), REMOVE_ROWS):
            some = chosen[start : start + REMOVE_ROWS]
            gone += await self._remove(partial(catalog.remove_places, chosen=some))
        return gone

    async def select(self, selection: Selection, page: Page) -> list[Listed]:
        rows: list[Listed] = await self._call(
            self._clerk, partial(catalog.select, selection=selection, page=page, seal=self._seal)
        )
        return rows

    async def requests(self, scope: bytes, limit: int) -> list[tuple[str, bytes]]:
        rows: list[tuple[str, bytes]] = await self._call(
            self._clerk, partial(catalog.requests, scope=scope, limit=limit, seal=self._seal)
        )
        return rows

    async def count(self, selection: Selection) -> int:
        return int(await self._call(self._clerk, partial(catalog.count, selection=selection, seal=self._seal)))

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        tally: Tally | None = await self._remove(
            partial(catalog.judge, entry=entry, verdict=verdict, seal=self._seal),
            lambda tally: tally is not None and tally.is_retired,
        )
        return tally

    async def _remove(self, work: Work, has_removed: Callable[[Any], bool] = bool) -> Any:
        """Do what removes entries, as `has_removed` tells of its result, so that other processes hear of it."""

        def noted(connection: sqlite3.Connection) -> Any:
            result = work(connection)
            if has_removed(result):
                self._writing.removed()
            return result

        try:
            result = await self._call(self._writer, noted)
        except asyncio.CancelledError:  # it is done all the same
            self._purge.soon()
            raise
        if has_removed(result):
            self._purge.soon()
        return result

    def mark(self) -> bytes:
        return b""  # another process's flights are not followed

    def has_lost_elsewhere(self) -> bool:
        return self._generation.has_risen()

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        read = partial(catalog.verdicts, scope=scope, entry_id=entry_id, seal=self._seal)
        said: list[Verdict] = await self._call(self._clerk, read)
        return said

    async def is_purged(self) -> bool:
        return bool(await self._writer.submit(emptied, is_alone=True))

    async def closed(self, selection: Selection) -> int:
        return int(await self._call(self._clerk, partial(catalog.closed, selection=selection, seal=self._seal)))

    def take_gone(self) -> list[Gone]:
        """What expired or was evicted since the last call and was not put again: for an index to forget.

        Some may be left out; an index meets them when it finds them.
        """
        taken = self._writing.take_gone()
        if taken:
            self._purge.soon()
        return taken

    async def count_hit(self, entry_id: str, times: int = 1) -> None:
        self._uses.count(entry_id, times)

    async def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        self._uses.prolong(scope, entry_id, expires_s)

    async def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        async for rows in self._pages(partial(table.embedded_page, embedder=embedder)):
            for row in rows:
                yield row

    async def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        async for rows in self._pages(partial(table.unembedded_page, embedder=embedder)):
            for row in rows:
                yield row

    async def _pages(self, page: Callable[..., tuple[list[T], table.Place | None]]) -> AsyncIterator[list[T]]:
        """Many rows, a few at a time. Lookups go first: a page ends when one comes, and what is left of it and the next
        wait for it, a while at most, as who reads everything has to come to an end, too."""
        place: table.Place | None = table.BEGIN
        while place is not None:
            await self._reader.idle(YIELDS_S)
            read = partial(
                page,
                after=place,
                horizon_s=self._horizon_s(),
                limit=PAGE_ROWS,
                seal=self._seal,
                gives_way=lambda: self._reader.is_busy,
            )
            rows, place = await self._call(self._clerk, read)
            for start in range(0, len(rows), table.FEW_ROWS):
                if start:
                    await self._reader.idle(YIELDS_S)
                yield rows[start : start + table.FEW_ROWS]

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        return bool(
            await self._call(
                self._writer, partial(table.set_vector, row=row, embedder=embedder, vector=vector, seal=self._seal)
            )
        )

    async def size(self) -> int:
        return int((await self._call(self._reader, upkeep.totals))[0])

    async def size_bytes(self) -> int:
        """What the entries weigh, as the budget counts it."""
        return int((await self._call(self._reader, upkeep.totals))[1])

    async def figures(self) -> Figures:
        entries, size = await self._call(self._reader, upkeep.totals)
        return Figures("disk", entries, size, self.stats.evicted, self.stats.expired)

    async def close(self) -> None:
        """Write what waits, the hits included, and close the file."""
        if self._repair is not None:
            self._repair.cancel()
            await asyncio.wait([self._repair])
        self._uses.flush()
        await self._close_threads()

    # -- the way to the threads ----------------------------------------------------------------------------------

    async def _call(self, thread: ConnectionThread, work: Work) -> Any:
        if self._is_away:  # what is written now would be lost
            self.stats.failures += 1
            raise CacheError("the answer store is being opened anew")
        try:
            result = await thread.call(work)
        except CacheError as error:
            self.stats.failures += 1
            if self._needs_repair(error) and (self._repair is None or self._repair.done()):
                self._sick_since_s, self._is_away = None, isinstance(error, BrokenFile)
                self._repair = asyncio.create_task(self._mend(error))
            raise
        if thread is self._writer:
            self._sick_since_s = None
        return result

    def _needs_repair(self, error: CacheError) -> bool:
        """At once when the file is broken or gone; when the disk refuses, only after a while in which nothing could be
        written: reads may go well meanwhile."""
        if not isinstance(error, SickFile):
            return isinstance(error, BrokenFile)
        now_s = time.monotonic()
        if self._sick_since_s is None:
            self._sick_since_s = now_s
        return now_s - self._sick_since_s > self._sick_s

    async def _mend(self, error: CacheError) -> None:
        """Open the file anew, a broken one in place of a new one, until it works; calls fail meanwhile. Where the disk
        takes nothing from anybody all stays as it is: reads may go well."""
        if not isinstance(error, BrokenFile) and not await asyncio.to_thread(self._can_write):
            return
        self._is_away = True
        await self._close_threads()
        is_broken, pause_s = isinstance(error, BrokenFile), MEND_AGAIN_S
        while True:
            try:
                if is_broken and self._writing.is_ours():
                    taken = await asyncio.to_thread(
                        salvage.replace, self._path, str(error), self._busy_timeout_s, self._marks
                    )
                    self._note_corrupt(taken)
                is_broken = False
                await self.open()
                self._is_away = False
                return
            except (CacheError, OSError) as trouble:
                log.error("%s cannot be opened again, going on without it: %s", self._path, trouble)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MEND_SELDOM_S)

    def _can_write(self) -> bool:
        """By a row that comes and goes; SQLite writes no page that would stay as it is."""
        probe = (
            "INSERT OR REPLACE INTO verdicts (scope, id, source, is_good, comment, at_s) VALUES (x'', '', '', 0, '', ?)"
        )
        try:
            with closing(file.connect(self._path, self._busy_timeout_s)) as connection:
                connection.execute(probe, (time.time(),))
                connection.execute("DELETE FROM verdicts WHERE scope = x'' AND id = ''")
        except (CacheError, sqlite3.Error):
            return False
        return True

    def _note_corrupt(self, taken: int) -> None:
        self.stats.corrupt_files += 1
        self.stats.salvaged += taken

    async def _take_up(self, *, is_settled: bool) -> None:
        """Mark and seal what was kept before, as it is now done."""
        while self._marks.takes_old:
            try:
                num_marked = await adopt(partial(self._call, self._writer), self._marks)
                note_marked(self._path)
            except (CacheError, OSError) as error:
                log.warning("not all of %s has its marks yet: %s", self._path, error)
                await asyncio.sleep(self._look_s)
                continue
            self._marks.takes_old = self._takes_old = False
            log.info("%d stored answers of an earlier version have their marks now", num_marked)
        if not is_settled:
            await self._reseal()

    async def _reseal(self) -> None:
        """Put what was kept before under the key in use."""
        try:
            done = await reseal(self._writer, self._seal, self._marks)
        except CacheError as error:  # the next start goes on
            self.stats.failures += 1
            log.warning("not all of %s is sealed yet: %s", self._path, error)
            return
        self.stats.resealed += done.sealed
        self.stats.unopened = done.lost

    async def _look_for_older(self) -> None:
        """Another process on the file may write in plain, or under an older key, until it is started again."""
        while True:
            await asyncio.sleep(self._look_s)
            if self._resealing is not None and not self._resealing.done():
                continue
            with suppress(CacheError):
                if await self._writer.call(partial(has_older, seal=self._seal)):
                    self._resealing = asyncio.create_task(self._reseal())

    async def _close_threads(self) -> None:
        for task in (self._looking, self._resealing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._clerk.close()
        await self._reader.close()
        self._purge.close()
        await self._writer.close()  # last: it takes the write-ahead log in
        self._generation.close()

    async def _read_entry(self, find: Callable[[sqlite3.Connection], Entry | None]) -> Entry | None:
        try:
            found: Entry | None = await self._call(self._reader, find)
        except table.BrokenRow as broken:
            log.error("entry %d in %s cannot be read, deleting it: %s", broken.seq, self._path, broken)
            self.stats.broken_rows += 1
            await self._call(self._writer, partial(table.remove_broken, find_it=find))
            return None
        return found

    def _failed(self) -> None:
        self.stats.failures += 1

    def _horizon_s(self) -> float:
        """What ended before this moment is gone."""
        return self._now() - self._keep_stale_s

    # -- on the writer's thread ----------------------------------------------------------------------------------

    def _adopt(self, connection: sqlite3.Connection) -> bool:
        """Take up a file that may have been kept under another policy; whether all of it is under the key in use."""
        upkeep.adopt(connection, self._writing.rank())
        is_empty = not upkeep.totals(connection)[0]
        if is_empty:
            note_key(connection, self._seal.name)  # there is nothing to seal again
        if not is_marked(self._path) and (is_empty or not self._marks.takes_old):
            self._lay_down(0 if is_empty else num_unmarked(connection))
        return is_settled(connection, self._seal)

    def _lay_down(self, num_lost: int) -> None:
        """Nothing without a mark is taken any more."""
        self._marks.takes_old = self._takes_old = False
        try:
            note_marked(self._path)
        except OSError as error:
            log.warning("%s cannot be noted to have its marks: %s", self._path, error)
        if num_lost:
            log.warning(
                "%d answers in %s lie in plain as an earlier version kept them beside a seal: they are not served, as "
                "anybody may have written them",
                num_lost,
                self._path,
            )
