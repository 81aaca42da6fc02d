"""What the writer's thread makes of the works that wait together: one transaction, and the upkeep that rides on it.

    works + tidy  ->  one transaction  ->  the disk is full: room is made, what found none is tried once more
                                       ->  something was removed: other processes hear of it before who asked does

Upkeep is expired entries and the budgets, in small batches, so that no put waits for long.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from gateway.answers import disk, file, table, upkeep
from gateway.answers.base import Gone
from gateway.answers.generation import Generation
from gateway.answers.marks import Marks
from gateway.answers.popularity import Popularity
from gateway.answers.tally import Ends
from gateway.answers.thread import BrokenFile, FullDisk, Results, Work, run_in_one_transaction
from gateway.seldom import Seldom

log = logging.getLogger(__name__)

PURGE_ROWS = 128  # expired entries that one transaction deletes at most
EVICT_ROWS = 64  # entries evicted between two looks at the budget
EVICT_ROUNDS = 16  # looks per transaction, so a budget made smaller does not stop the writers
EVICT_TO = 0.95  # of the budget, so that not every put evicts
MAX_GONE = 100_000  # entries let go that nobody has asked for yet


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is kept, and what goes first (`gateway.answers.eviction`)."""

    whole_bytes: int | None
    tenant_bytes: int | None
    policy: str


@dataclass(slots=True)
class SqliteStats:
    """What the store did since the start."""

    puts: int = 0
    transactions: int = 0  # of the writer; puts / transactions is what group commit saves
    evicted: int = 0
    expired: int = 0
    failures: int = 0  # calls that ended in `CacheError`
    broken_rows: int = 0
    corrupt_files: int = 0
    salvaged: int = 0  # entries taken over from those
    resealed: int = 0  # rows that another key had sealed, or none
    unopened: int = 0  # rows whose key is not given, when that was last looked for


@dataclass(frozen=True, slots=True)
class _Tidied:
    expired: Sequence[Gone]
    evicted: Sequence[Gone]


class Writing:
    """Writes to the file `path`. Belongs to the writer's thread, but for `opened`, `is_ours` and `take_gone`."""

    def __init__(
        self,
        path: Path,
        budget: Budget,
        generation: Generation,
        marks: Marks,
        now: Callable[[], float],
        horizon_s: Callable[[], float],
        seed: int,
        stats: SqliteStats,
    ) -> None:
        """`horizon_s`: what ended before that moment is gone."""
        self._path = path
        self._budget = budget
        self._generation = generation
        self._marks = marks
        self._now = now
        self._horizon_s = horizon_s
        self._draws = Random(seed)  # noqa: S311
        self._popularity = Popularity(budget.whole_bytes or 0)
        self._relief = disk.Relief()
        self._warnings = Seldom(log)
        self._has_removed = False  # in this transaction
        self._gone: dict[tuple[bytes, str], Gone] = {}  # emptied by the loop
        self._identity: tuple[int, int] | None = None
        self._stats = stats

    def opened(self) -> None:
        """The file that lies there now is the one that is written, until another is opened."""
        self._identity = file.identity(self._path)

    def is_ours(self) -> bool:
        """Whether it still lies there."""
        return file.identity(self._path) == self._identity

    def take_gone(self) -> list[Gone]:
        """What expired or was evicted since the last call and was not put again."""
        taken = []
        while self._gone:
            taken.append(self._gone.popitem()[1])
        return taken

    def run(self, connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
        """Do all of it in one transaction, and a little upkeep with it; what each came to."""
        if not self.is_ours():
            return [BrokenFile(f"{self._path} was deleted or replaced while in use")] * len(works)
        *results, tidied = run_in_one_transaction(connection, [*works, self._tidy])
        if any(isinstance(result, FullDisk) for result in results) and self._relief.is_worth_it():
            results = self._again_with_room(connection, works, results)
        if self._has_removed:  # before anybody hears of it
            self._generation.rise()
            self._has_removed = False
        self._stats.transactions += 1
        self._note_tidied(tidied)
        return results

    def put(self, connection: sqlite3.Connection, row: table.Row) -> None:
        table.put(connection, row, self.rank(), self._marks)
        self._gone.pop((row["scope"], row["id"]), None)

    def add_uses(self, connection: sqlite3.Connection, hits: Mapping[str, int], ends: Ends) -> None:
        upkeep.add_hits(connection, hits, ends, self.rank())

    def removed(self) -> None:
        """This transaction removes something: other processes are to hear of it."""
        self._has_removed = True

    def rank(self) -> upkeep.Rank:
        """What the policy makes of an entry now."""
        return upkeep.Rank(self._budget.policy, self._now(), lambda: self._draws.expovariate(1.0), self._popularity.add)

    def _again_with_room(self, connection: sqlite3.Connection, works: Sequence[Work], results: Results) -> Results:
        """The disk is full: take the log in, let old answers go, and do once more what found no room."""
        disk.take_log_in(connection)
        self._note_tidied(run_in_one_transaction(connection, [partial(self._tidy, is_full=True)])[0])
        disk.take_log_in(connection)
        again = [place for place, result in enumerate(results) if isinstance(result, FullDisk)]
        later = run_in_one_transaction(connection, [works[place] for place in again])
        for place, result in zip(again, later, strict=True):
            results[place] = result
        self._relief.has_helped(helped=not any(isinstance(result, FullDisk) for result in later))
        return results

    def _tidy(self, connection: sqlite3.Connection, *, is_full: bool = False) -> _Tidied:
        """Delete a few expired entries, then the least valuable while a budget is passed, or the disk lacks room."""
        expired = upkeep.purge_expired(connection, self._horizon_s(), PURGE_ROWS)
        evicted: list[Gone] = []
        rounds = EVICT_ROUNDS
        whole_bytes, tenant_bytes = self._budget.whole_bytes, self._budget.tenant_bytes
        while rounds and tenant_bytes is not None:
            passed = upkeep.over_budget(connection, tenant_bytes)
            if passed is None:
                break
            rounds = self._evict(connection, tenant_bytes, passed[0], rounds, evicted)
        if whole_bytes is not None and upkeep.totals(connection)[1] > whole_bytes:
            rounds = self._evict(connection, whole_bytes, None, rounds, evicted)
        while rounds and (lacking := disk.lacking_bytes(connection, self._path, is_full=is_full)):
            rounds -= 1
            some = upkeep.evict(connection, lacking, EVICT_ROWS, self.rank())
            evicted += some
            if not some:
                break
        return _Tidied(expired, evicted)

    def _evict(
        self, connection: sqlite3.Connection, budget: int, tenant: str | None, rounds: int, evicted: list[Gone]
    ) -> int:
        """Evict until there is a little room, in so many rounds at most; how many are left."""
        while rounds and (excess := upkeep.size_bytes(connection, tenant) - EVICT_TO * budget) > 0:
            rounds -= 1
            evicted += upkeep.evict(connection, excess, EVICT_ROWS, self.rank(), tenant)
        return rounds

    def _note_tidied(self, tidied: _Tidied | Exception) -> None:
        """What is gone, once that is written."""
        if isinstance(tidied, Exception):
            self._warnings.warn("tidy", "nothing was tidied up in %s: %s", self._path, tidied)
            return
        self._stats.expired += len(tidied.expired)
        self._stats.evicted += len(tidied.evicted)
        room = max(0, MAX_GONE - len(self._gone))
        gone = [*tidied.expired, *tidied.evicted][:room]
        self._gone.update({(one.scope, one.id): one for one in gone})
