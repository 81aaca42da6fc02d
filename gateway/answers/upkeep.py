"""What keeps the answers file inside its budgets: hits, expiry, eviction, and what it holds in all.

`priority` in a row and `floor` in `totals` are the memory of the policy (`gateway.answers.eviction`).
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.answers.base import Gone
from gateway.answers.eviction import first_priority, next_priority


@dataclass(frozen=True, slots=True)
class Rank:
    """A policy at one moment: what it makes of an entry."""

    policy: str
    now_s: float
    draw: Callable[[], float]
    used: Callable[[bytes, int], int]  # notes uses of a fingerprint; how many are known, kept or not

    @property
    def has_floor(self) -> bool:
        return self.policy in ("cost", "random")

    def first(self, floor: float, uses: int, worth: float, tick: float | None = None) -> float:
        """Of an entry that is put, or was at `tick`."""
        tick = self.now_s if tick is None else tick
        return first_priority(self.policy, floor=floor, tick=tick, uses=uses, worth=worth, draw=self.draw())

    def next(self, before: float, floor: float, uses: int, worth: float) -> float:
        """Of an entry that was used."""
        return next_priority(self.policy, before=before, floor=floor, tick=self.now_s, uses=uses, worth=worth)


def floor_of(connection: sqlite3.Connection) -> float:
    return float(connection.execute("SELECT floor FROM totals").fetchone()[0])


def add_hits(
    connection: sqlite3.Connection, hits: Mapping[str, int], ends: Mapping[tuple[bytes, str], float], rank: Rank
) -> None:
    """Note uses, and the ends that they moved."""
    floor = floor_of(connection)
    for entry_id, n in hits.items():
        found = "SELECT seq, exact, hits, worth, priority FROM entries WHERE id = ?"
        for seq, exact, before, value, priority in connection.execute(found, (entry_id,)).fetchall():
            raised = rank.next(priority, floor, max(1 + before + n, rank.used(exact, n)), value)
            connection.execute("UPDATE entries SET hits = hits + ?, priority = ? WHERE seq = ?", (n, raised, seq))
    connection.executemany(
        "UPDATE entries SET expires_s = max(expires_s, ?) WHERE id = ? AND scope = ? AND expires_s IS NOT NULL",
        [(expires_s, entry_id, scope) for (scope, entry_id), expires_s in ends.items()],
    )


def purge_expired(connection: sqlite3.Connection, horizon_s: float, limit: int) -> list[Gone]:
    """Delete up to `limit` entries that ended before `horizon_s`."""
    sql = "SELECT seq, id, scope, compat FROM entries WHERE expires_s <= ? ORDER BY expires_s LIMIT ?"
    return delete(connection, connection.execute(sql, (horizon_s, limit)).fetchall())


def evict(
    connection: sqlite3.Connection, excess_bytes: float, limit: int, rank: Rank, tenant: str | None = None
) -> list[Gone]:
    """Delete the entries of lowest priority, of all or of one tenant, until so many bytes are free or `limit` are gone;
    the floor rises to theirs."""
    whose, of = ("", ()) if tenant is None else ("WHERE tenant = ?", (tenant,))
    columns = "seq, id, scope, compat, priority, size_bytes"
    sql = f"SELECT {columns} FROM entries {whose} ORDER BY priority, seq LIMIT ?"  # noqa: S608
    rows = []
    for row in connection.execute(sql, (*of, limit)).fetchall():
        if excess_bytes <= 0:
            break
        rows.append(row)
        excess_bytes -= row[5]
    if rows and rank.has_floor:
        connection.execute("UPDATE totals SET floor = max(floor, ?)", (rows[-1][4],))
    return delete(connection, [row[:4] for row in rows])


def delete(connection: sqlite3.Connection, rows: Sequence[tuple[int, str, bytes, bytes]]) -> list[Gone]:
    """Delete rows of (seq, id, scope, compat)."""
    connection.executemany("DELETE FROM entries WHERE seq = ?", [(row[0],) for row in rows])
    return [Gone(*row[1:]) for row in rows]


def over_budget(connection: sqlite3.Connection, tenant_bytes: int) -> tuple[str, int] | None:
    """A tenant that keeps more than it may, and its bytes. Rows of nobody known are of a version that kept no names."""
    sql = (
        "SELECT tenant, size_bytes FROM tenants WHERE size_bytes > ? AND tenant <> '' ORDER BY size_bytes DESC LIMIT 1"
    )
    found: tuple[str, int] | None = connection.execute(sql, (tenant_bytes,)).fetchone()
    return found


def size_bytes(connection: sqlite3.Connection, tenant: str | None) -> int:
    """What everybody keeps, or one tenant."""
    if tenant is None:
        return totals(connection)[1]
    found = connection.execute("SELECT size_bytes FROM tenants WHERE tenant = ?", (tenant,)).fetchone()
    return 0 if found is None else int(found[0])


def adopt(connection: sqlite3.Connection, rank: Rank) -> None:
    """Give every entry a priority of this policy, unless it has one: a file may have been kept under another."""
    if connection.execute("SELECT policy FROM totals").fetchone()[0] == rank.policy:
        return
    rows = connection.execute("SELECT seq, hits, worth, created_s FROM entries").fetchall()
    connection.executemany(
        "UPDATE entries SET priority = ? WHERE seq = ?",
        [(rank.first(0.0, 1 + hits, value, created_s), seq) for seq, hits, value, created_s in rows],
    )
    connection.execute("UPDATE totals SET policy = ?, floor = 0.0", (rank.policy,))


def totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """Entries kept, and their bytes."""
    entries, size = connection.execute("SELECT entries, size_bytes FROM totals").fetchone()
    return entries, size
