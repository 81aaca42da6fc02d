"""Budgets, kept: what every subject used of its day and its month survives a restart.

One small SQLite file, written beside the event loop every other second while anything changes. What happened since the
last writing is lost with a process that is killed. A file that is damaged is put aside, and sums begin at nothing.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.answers.base import CacheError
from gateway.answers.file import set_aside
from gateway.quota.buckets import Account, Sums, Window

FILE = "budgets.db"
WAIT_S = 5.0  # for another process that writes

_TABLE = """
CREATE TABLE IF NOT EXISTS budgets (
    subject TEXT PRIMARY KEY,
    day INTEGER, day_requests INTEGER, day_hits INTEGER, day_tokens INTEGER, day_money REAL,
    month INTEGER, month_requests INTEGER, month_hits INTEGER, month_tokens INTEGER, month_money REAL
) WITHOUT ROWID
"""
_PUT = "INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class BudgetFile:
    """The file. What goes wrong is a `CacheError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> list[tuple[str, Account]]:
        """What was kept."""
        return await asyncio.to_thread(self._load)

    async def save(self, accounts: Iterable[tuple[str, Account]], month: int) -> None:
        """Keep these, and let go of what is of months before the last one."""
        await asyncio.to_thread(self._save, [_row(*one) for one in accounts], month)

    async def forget(self, tenant: str) -> None:
        """Keep nothing of a tenant and its keys any more."""
        await asyncio.to_thread(self._forget, tenant)

    def _load(self) -> list[tuple[str, Account]]:
        if not self._path.exists():
            return []
        try:
            with self._opened() as connection:
                return [_account(row) for row in connection.execute("SELECT * FROM budgets")]
        except CacheError as error:
            if not isinstance(error.__cause__, sqlite3.DatabaseError) or isinstance(
                error.__cause__, sqlite3.OperationalError
            ):
                raise
            set_aside(self._path, str(error))
            return []

    def _save(self, rows: list[tuple[object, ...]], month: int) -> None:
        with self._opened() as connection:
            connection.executemany(_PUT, rows)
            connection.execute("DELETE FROM budgets WHERE month < ?", (month - 1,))

    def _forget(self, tenant: str) -> None:
        if self._path.exists():
            with self._opened() as connection:
                connection.execute("PRAGMA secure_delete=ON")
                keys = f"{tenant}/"
                connection.execute(
                    "DELETE FROM budgets WHERE subject = ? OR substr(subject, 1, ?) = ?", (tenant, len(keys), keys)
                )

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=WAIT_S)
            try:
                connection.execute(_TABLE)
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise CacheError(f"{self._path.name}: {error}") from error


def _row(subject: str, account: Account) -> tuple[object, ...]:
    return subject, *_of(account.day), *_of(account.month)


def _of(window: Window) -> tuple[object, ...]:
    sums = window.sums
    return window.number, sums.requests, sums.hits, sums.tokens, sums.money


def _account(row: tuple[object, ...]) -> tuple[str, Account]:
    subject, *rest = row
    try:
        day, month = (_window(rest[at : at + 5]) for at in (0, 5))
    except (TypeError, ValueError) as error:
        raise CacheError(f"{FILE} holds what is no sum: {error}") from error
    return str(subject), Account(day=day, month=month)


def _window(row: list[object]) -> Window:
    number, requests, hits, tokens = (int(str(value)) for value in row[:4])
    return Window(number, Sums(requests, hits, tokens, float(str(row[4]))))
