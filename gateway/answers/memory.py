"""Answers in this process's memory, under a budget of bytes in all and per tenant.

Every operation is synchronous (`..._now`) and costs a few map accesses; the awaitable ones are the `Answers` contract
over them. What goes first is said in `gateway.answers.eviction`.

    _kept      (scope, exact) -> entry, its bytes, its uses, its priority
    _ids       (scope, id)    -> exact
    _aliases   (scope, id)    -> exact of what is kept under other wordings of it
    _shelves   tenant -> its keys by priority; None -> all keys

Invariants: both maps know the same entries; `bytes_kept` is the sum of their sizes and never above the budget,
`_tenants` the same for each tenant.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from gateway.answers.base import (
    BAD_RETIRES,
    CacheError,
    Embedded,
    Entry,
    Gone,
    Tally,
    Unembedded,
    Verdict,
    embedded_of,
    unembedded_of,
)
from gateway.answers.codec import encode, size_bytes, vector_bytes
from gateway.answers.eviction import Shelf, first_priority, next_priority, worth
from gateway.answers.popularity import Popularity
from gateway.answers.selection import Listed, Page, Selection, needle

KEEP_STALE_S = 3600.0
SWEEP_OVER = 4  # stays on a shelf per entry kept, before those that ended are swept off

Key = tuple[bytes, bytes]


@dataclass(slots=True)
class MemoryStats:
    """What was let go since the start."""

    evicted: int = 0
    expired: int = 0
    too_large: int = 0


@dataclass(slots=True)
class _Kept:
    entry: Entry
    size: int
    uses: int
    worth: float
    priority: float
    number: int  # of this stay


class MemoryAnswers:
    """An `Answers` store that ends with the process. Belongs to one event loop."""

    def __init__(
        self,
        budget_bytes: int,
        *,
        tenant_bytes: int | None = None,
        policy: str = "cost",
        seed: int = 0,
        keep_stale_s: float = KEEP_STALE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._budget_bytes = budget_bytes
        self._tenant_bytes = tenant_bytes
        self._policy = policy
        self._draws = Random(seed)  # noqa: S311 (no secret)
        self._keep_stale_s = keep_stale_s
        self._now = now
        self._kept: dict[Key, _Kept] = {}
        self._ids: dict[tuple[bytes, str], bytes] = {}
        self._aliases: dict[tuple[bytes, str], set[bytes]] = {}
        self._verdicts: dict[tuple[bytes, str], dict[str, Verdict]] = {}
        self._shelves: dict[str | None, Shelf[Key]] = {None: Shelf()}
        self._tenants: Counter[str] = Counter()
        self._popularity = Popularity(budget_bytes)
        self._tick = 0
        self._floor = 0.0
        self.bytes_kept = 0
        self.stats = MemoryStats()

    def __len__(self) -> int:
        return len(self._kept)

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry under this fingerprint if it is here; counts as use."""
        kept = self._kept.get((scope, exact))
        if kept is None:
            return None
        if not kept.entry.is_fresh(self._now() - self._keep_stale_s):
            self._drop((scope, exact))
            self.stats.expired += 1
            return None
        self._tick += 1
        kept.uses = max(kept.uses + 1, self._popularity.add(exact))
        kept.priority = next_priority(
            self._policy,
            before=kept.priority,
            floor=self._floor,
            tick=self._tick,
            uses=kept.uses,
            worth=kept.worth,
        )
        return kept.entry

    def by_id_now(self, scope: bytes, entry_id: str) -> Entry | None:
        """The entry of this name inside this scope if it is here; no use of it: neighbours are looked at by name."""
        exact = self._ids.get((scope, entry_id))
        return None if exact is None else self.peek_now(scope, exact)

    def peek_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """As `get_now`, but no use of the entry."""
        kept = self._kept.get((scope, exact))
        return kept.entry if kept is not None and kept.entry.is_fresh(self._now() - self._keep_stale_s) else None

    def put_now(self, entry: Entry) -> None:
        """Keep `entry`, making room for it; one larger than a budget is counted and not kept."""
        self._keep(entry)

    def _keep(self, entry: Entry) -> bool:
        size = size_bytes(entry, encode(entry.completion))
        entry, uses = self._replace(entry)
        if size > self._most_bytes():
            self.stats.too_large += 1
            return False
        self._make_room(entry.tenant, size)
        self._tick += 1
        uses = max(uses, self._popularity.add(entry.exact))
        value = worth(entry.elapsed_s, size)
        priority = first_priority(
            self._policy,
            floor=self._floor,
            tick=self._tick,
            uses=uses,
            worth=value,
            draw=self._draws.expovariate(1.0) if self._policy == "random" else 0.0,
        )
        key = (entry.scope, entry.exact)
        self._kept[key] = _Kept(entry, size, uses, value, priority, self._tick)
        self._ids[entry.scope, entry.id] = entry.exact
        if entry.alias_of is not None:
            self._aliases.setdefault((entry.scope, entry.alias_of), set()).add(entry.exact)
        self._count(entry.tenant, size)
        for shelf in self._shelves_of(entry.tenant):
            shelf.put(priority, self._tick, key)
        return True

    def remove_now(self, scope: bytes, entry_id: str) -> bool:
        """Forget the entry, and what is kept under other wordings of it; False when it is not here."""
        for alias in tuple(self._aliases.get((scope, entry_id), ())):
            self._drop((scope, alias))
        exact = self._ids.get((scope, entry_id))
        if exact is None:
            return False
        self._drop((scope, exact))
        return True

    def remove_all_now(self, selection: Selection) -> list[Gone]:
        """Forget what is selected."""
        chosen = [kept.entry for kept in self._kept.values() if is_meant(selection, kept.entry)]
        for entry in chosen:
            self._drop((entry.scope, entry.exact))
        return gone(chosen)

    def change_now(self, entry: Entry, **fields: object) -> None:
        """Change what weighs nothing of this very answer, if it is here; no use of it."""
        kept = self._kept.get((entry.scope, entry.exact))
        if kept is not None and is_same(kept.entry, entry):
            kept.entry = replace(kept.entry, **fields)  # type: ignore[arg-type]

    def prolong_now(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        """Move an entry's end if it is here."""
        kept = self._kept.get((scope, self._ids.get((scope, entry_id), b"")))
        if kept is not None:
            kept.entry = replace(kept.entry, expires_s=expires_s)

    def set_vector_now(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        """Give the entry its vector if it is here and still asks the same; does not count as use."""
        kept = self._kept.get((row.scope, self._ids.get((row.scope, row.id), b"")))
        if kept is None or kept.entry.question != row.question:
            return False
        grown = replace(kept.entry, embedder=embedder, vector=vector)
        growth = vector_bytes(grown) - vector_bytes(kept.entry)
        kept.entry, kept.size = grown, kept.size + growth
        self._count(grown.tenant, growth)
        self._make_room(grown.tenant, 0)
        return True

    # -- room ----------------------------------------------------------------------------------------------------

    def _most_bytes(self) -> int:
        return self._budget_bytes if self._tenant_bytes is None else min(self._budget_bytes, self._tenant_bytes)

    def _make_room(self, tenant: str, size: int) -> None:
        while self._tenant_bytes is not None and self._tenants[tenant] + size > self._tenant_bytes:
            self._evict(tenant)
        while self.bytes_kept + size > self._budget_bytes:
            self._evict(None)

    def _evict(self, tenant: str | None) -> None:
        key = self._shelves[tenant].lowest(self._priority)
        if key is None:
            raise RuntimeError(f"{self.bytes_kept} bytes of {len(self._kept)} entries, and none to evict")
        if self._policy in ("cost", "random"):
            self._floor = max(self._floor, self._kept[key].priority)
        self._drop(key)
        self.stats.evicted += 1

    def _priority(self, key: Key, number: int) -> float | None:
        kept = self._kept.get(key)
        return kept.priority if kept is not None and kept.number == number else None

    def _shelves_of(self, tenant: str) -> Iterable[Shelf[Key]]:
        """Where a tenant's keys lie; one of its own only where its bytes are bounded."""
        names = (None,) if self._tenant_bytes is None else (None, tenant)
        for name in names:
            shelf = self._shelves.setdefault(name, Shelf())
            if len(shelf) > SWEEP_OVER * len(self._kept) + 64:
                shelf.sweep(self._priority)
            yield shelf

    def _count(self, tenant: str, size: int) -> None:
        self.bytes_kept += size
        self._tenants[tenant] += size

    def _replace(self, entry: Entry) -> tuple[Entry, int]:
        """Drop what has this fingerprint, and what has this name under another one.

        The entry, with the verdicts on it if it is the same answer put again, and its uses with this one.
        """
        before, uses = self._kept.get((entry.scope, entry.exact)), 1
        if before is not None:
            uses = before.uses + 1
            if is_same(before.entry, entry):
                entry = replace(entry, good=before.entry.good, bad=before.entry.bad)
                self._drop((entry.scope, entry.exact), is_replaced=True)
            else:
                self.remove_now(entry.scope, before.entry.id)  # with its aliases: they have the old answer
        exact = self._ids.get((entry.scope, entry.id))
        if exact is not None:
            self._drop((entry.scope, exact))
        return entry, uses

    def _drop(self, key: Key, *, is_replaced: bool = False) -> None:
        kept = self._kept.pop(key)
        entry = kept.entry
        del self._ids[entry.scope, entry.id]
        if entry.alias_of is not None:
            aliases = self._aliases[entry.scope, entry.alias_of]
            aliases.discard(entry.exact)
            if not aliases:
                del self._aliases[entry.scope, entry.alias_of]
        if not is_replaced:
            self._verdicts.pop((entry.scope, entry.id), None)
        self._count(entry.tenant, -kept.size)
        if not self._tenants[entry.tenant]:
            del self._tenants[entry.tenant]
            self._shelves.pop(entry.tenant, None)

    # -- the Answers contract ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Nothing to open."""

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        return self.get_now(scope, exact)

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        return self.by_id_now(scope, entry_id)

    async def peek(self, scope: bytes, exact: bytes) -> Entry | None:
        return self.peek_now(scope, exact)

    async def owned(self, tenant: str, entry_id: str) -> Entry | None:
        return next((e for e in self._visible() if e.id == entry_id and e.tenant == tenant), None)

    async def put(self, entry: Entry) -> None:
        if entry.alias_of is not None and (entry.scope, entry.alias_of) not in self._ids:
            return
        if not self._keep(entry):
            raise CacheError(f"entry {entry.id} is larger than the memory budget of {self._most_bytes()} bytes")

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        return self.remove_now(scope, entry_id)

    async def remove_all(self, selection: Selection) -> list[Gone]:
        return self.remove_all_now(selection)

    async def select(self, selection: Selection, page: Page) -> list[Listed]:
        chosen = [self._listed(kept) for kept in self._kept.values() if is_meant(selection, kept.entry)]
        chosen.sort(key=lambda row: row.place, reverse=True)
        return [row for row in chosen if page.after is None or row.place < page.after][: page.limit]

    def _listed(self, kept: _Kept) -> Listed:
        return listed(kept.entry, (kept.entry.created_s, kept.number), kept.size, kept.uses - 1)

    async def requests(self, scope: bytes, limit: int) -> list[tuple[str, bytes]]:
        rows = [kept for kept in self._kept.values() if kept.entry.scope == scope]
        rows.sort(key=lambda kept: (kept.entry.created_s, kept.number), reverse=True)
        return [(kept.entry.id, kept.entry.canonical) for kept in rows[:limit]]

    async def count(self, selection: Selection) -> int:
        return sum(is_meant(selection, kept.entry) for kept in self._kept.values())

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        kept = self._kept.get((entry.scope, entry.exact))
        if kept is None or not is_same(kept.entry, entry):
            return None
        said = self._verdicts.setdefault((entry.scope, entry.id), {})
        said[verdict.source] = verdict
        good = sum(verdict.is_good for verdict in said.values())
        bad = len(said) - good
        kept.entry = replace(kept.entry, good=good, bad=bad)
        return Tally(good, bad, tuple(self._remove(kept.entry)) if bad >= BAD_RETIRES else ())

    def _remove(self, entry: Entry) -> list[Gone]:
        return self.remove_all_now(Selection(id=entry.id, scope=entry.scope))

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        return sorted(self._verdicts.get((scope, entry_id), {}).values(), key=lambda verdict: verdict.at_s)

    def take_gone(self) -> list[Gone]:
        """Nothing is noted: an index meets what is gone when it finds it."""
        return []

    async def count_hit(self, entry_id: str) -> None:
        """Nothing to note: being read is what counts here."""

    async def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        self.prolong_now(scope, entry_id, expires_s)

    async def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        for entry in self._visible():
            if entry.embedder == embedder and (row := embedded_of(entry)) is not None:
                yield row

    async def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        for entry in self._visible():
            is_done = entry.embedder == embedder and entry.vector is not None
            if not is_done and (row := unembedded_of(entry)) is not None:
                yield row

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        return self.set_vector_now(row, embedder, vector)

    def _visible(self) -> list[Entry]:
        """Entries that are not gone yet, oldest first."""
        horizon_s = self._now() - self._keep_stale_s
        entries = [kept.entry for kept in self._kept.values() if kept.entry.is_fresh(horizon_s)]
        return sorted(entries, key=lambda entry: entry.created_s)

    async def size(self) -> int:
        return len(self._kept)

    async def close(self) -> None:
        self._kept.clear()
        self._ids.clear()
        self._aliases.clear()
        self._verdicts.clear()
        self._tenants.clear()
        self._shelves = {None: Shelf()}
        self.bytes_kept = 0


def is_same(one: Entry, other: Entry) -> bool:
    """Whether two entries of one request are one answer, not a later one."""
    return one.id == other.id and one.created_s == other.created_s


def is_meant(selection: Selection, entry: Entry) -> bool:
    """Whether an entry is selected, its texts included."""
    if not selection.matches(entry):
        return False
    if selection.text is None:
        return True
    wanted = needle(selection.text)
    return wanted in entry.canonical.lower() or wanted in encode(entry.completion).lower()


def gone(entries: Iterable[Entry]) -> list[Gone]:
    return [Gone(entry.id, entry.scope, entry.compat) for entry in entries]


def listed(entry: Entry, place: tuple[float, int], size: int, hits: int) -> Listed:
    """`entry` as a row of a list."""
    return Listed(
        place=place,
        id=entry.id,
        tenant=entry.tenant,
        namespace=entry.namespace,
        model=entry.model,
        revision=entry.revision,
        question=entry.question,
        tags=entry.tags,
        created_s=entry.created_s,
        expires_s=entry.expires_s,
        elapsed_s=entry.elapsed_s,
        size_bytes=size,
        hits=hits,
        good=entry.good,
        bad=entry.bad,
        alias_of=entry.alias_of,
    )
