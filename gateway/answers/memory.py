"""Answers in this process's memory, under a budget of bytes in all and per tenant.

Every operation is synchronous (`..._now`) and costs a few map accesses; the awaitable ones are the `Answers` contract
over them. Who leaves when the budget is full is the affair of `gateway.answers.room`.

    _kept      (scope, exact) -> entry, packed (gateway.answers.packed)
    _ids       (scope, id)    -> exact
    _aliases   (scope, id)    -> exact of what is kept under other wordings of it

Invariant: all three, and the room, know the same entries.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gateway.answers.base import (
    BAD_RETIRES,
    MAX_VERDICTS,
    CacheError,
    Embedded,
    Entry,
    Figures,
    Gone,
    Tally,
    Unembedded,
    Verdict,
    counted,
    embedded_of,
    unembedded_of,
)
from gateway.answers.codec import encode, size_bytes, vector_bytes
from gateway.answers.packed import Packed, Packing, Parsed
from gateway.answers.room import Key, Room
from gateway.answers.selection import Listed, Page, Selection, needle

KEEP_STALE_S = 3600.0


@dataclass(slots=True)
class MemoryStats:
    """What was let go since the start."""

    evicted: int = 0
    expired: int = 0
    too_large: int = 0


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
        self._keep_stale_s = keep_stale_s
        self._now = now
        self._new_room = partial(Room, budget_bytes, tenant_bytes, policy, seed)
        self._room = self._new_room()
        self._packing = Packing()
        self._parsed = Parsed(budget_bytes)
        self._kept: dict[Key, Packed] = {}
        self._ids: dict[tuple[bytes, str], bytes] = {}
        self._aliases: dict[tuple[bytes, str], set[bytes]] = {}
        self._verdicts: dict[tuple[bytes, str], dict[str, Verdict]] = {}
        self.stats = MemoryStats()

    @property
    def bytes_kept(self) -> int:
        return self._room.size_bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry under this fingerprint if it is here; counts as use."""
        kept = self._kept.get((scope, exact))
        if kept is None:
            return None
        if not kept.is_fresh(self._now() - self._keep_stale_s):
            self._drop((scope, exact))
            self.stats.expired += 1
            return None
        self._room.use((scope, exact))
        return self._parsed.of(kept)

    def stamp_now(self, scope: bytes, exact: bytes) -> object | None:
        """What is kept under this fingerprint, by its own name: whatever changes it puts another in its place."""
        return self._kept.get((scope, exact))

    def use_now(self, scope: bytes, exact: bytes, times: int) -> None:
        """Count uses of what lies under this fingerprint, if it is here."""
        if (scope, exact) in self._kept:
            self._room.use((scope, exact), times)

    def by_id_now(self, scope: bytes, entry_id: str) -> Entry | None:
        """The entry of this name inside this scope if it is here; no use of it: neighbours are looked at by name."""
        exact = self._ids.get((scope, entry_id))
        return None if exact is None else self.peek_now(scope, exact)

    def peek_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """As `get_now`, but no use of the entry."""
        kept = self._kept.get((scope, exact))
        return self._parsed.of(kept) if kept is not None and kept.is_fresh(self._now() - self._keep_stale_s) else None

    def near_now(self, scope: bytes, entry_ids: Sequence[str]) -> list[Packed | None]:
        """As `by_id_now` of each, but nothing is parsed: of most neighbours nobody reads the answer."""
        since_s, found = self._now() - self._keep_stale_s, []
        for entry_id in entry_ids:
            exact = self._ids.get((scope, entry_id))
            kept = None if exact is None else self._kept.get((scope, exact))
            is_here = kept is not None and (kept.expires_s is None or since_s < kept.expires_s)
            found.append(kept if is_here else None)
        return found

    def whole_now(self, kept: Packed) -> Entry:
        """What `near_now` gave, parsed. What has gone since leaves nothing behind."""
        is_here = self._kept.get((kept.scope, kept.exact)) is kept
        return self._parsed.of(kept) if is_here else kept.unpacked()

    def put_now(self, entry: Entry, *, is_use: bool = True) -> None:
        """Keep `entry`, making room for it; one larger than a budget is counted and not kept.

        It is no use of it when it comes here because it was looked at.
        """
        self._keep(entry, is_use=is_use)

    def _keep(self, entry: Entry, *, is_use: bool = True) -> bool:
        encoded = encode(entry.completion)
        size = size_bytes(entry, encoded)
        entry, uses = self._replace(entry)
        if size > self._room.most_bytes:
            self.stats.too_large += 1
            return False
        self._make_room(entry.tenant, size)
        key = (entry.scope, entry.exact)
        self._room.enter(key, entry.tenant, size, entry.elapsed_s, uses, is_use=is_use)
        self._kept[key] = self._packing.packed(entry, encoded)
        self._parsed.hold(self._kept[key], entry)
        self._ids[entry.scope, entry.id] = entry.exact
        if entry.alias_of is not None:
            self._aliases.setdefault((entry.scope, entry.alias_of), set()).add(entry.exact)
        return True

    def _make_room(self, tenant: str, size: int) -> None:
        for key in self._room.leaving(tenant, size):
            self._drop(key)
            self.stats.evicted += 1

    def shed_now(self) -> None:
        """Let go of half of what is here, because memory is short."""
        for key in self._room.shrinking(self._room.size_bytes // 2):
            self._drop(key)
            self.stats.evicted += 1

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
        chosen = [kept for kept in self._kept.values() if is_meant(selection, kept)]
        for kept in chosen:
            self._drop((kept.scope, kept.exact))
        return gone(chosen)

    def rate_now(self, entry: Entry, good: int, bad: int) -> None:
        """Note what users said of this very answer, if it is here; no use of it."""
        key = (entry.scope, entry.exact)
        found = self._kept.get(key)
        if found is not None and is_same(found, entry):
            self._change(key, replace(self._parsed.of(found), good=good, bad=bad))

    def prolong_now(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        """Move an entry's end if it is here."""
        key = (scope, self._ids.get((scope, entry_id), b""))
        if key in self._kept:
            self._change(key, replace(self._parsed.of(self._kept[key]), expires_s=expires_s))

    def _change(self, key: Key, entry: Entry) -> None:
        """Put `entry` in the place of the same with another end, or other verdicts."""
        before = self._kept[key]
        self._kept[key] = before.changed(entry)
        self._parsed.drop(before)
        self._parsed.hold(self._kept[key], entry)

    def set_vector_now(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        """Give the entry its vector if it is here and still asks the same; does not count as use."""
        key = (row.scope, self._ids.get((row.scope, row.id), b""))
        kept = self._kept.get(key)
        if kept is None or kept.question != row.question:
            return False
        grown = replace(self._parsed.of(kept), embedder=embedder, vector=vector)
        self._room.grow(key, vector_bytes(grown) - vector_bytes(kept))
        self._kept[key] = self._packing.packed(grown, kept.encoded)
        self._parsed.drop(kept)
        self._parsed.hold(self._kept[key], grown)
        self._make_room(grown.tenant, 0)
        return True

    def _replace(self, entry: Entry) -> tuple[Entry, int]:
        """Drop what has this fingerprint, and what has this name under another one.

        The entry, with the verdicts on it if it is the same answer put again, and its uses so far.
        """
        key, uses = (entry.scope, entry.exact), 0
        before = self._kept.get(key)
        if before is not None:
            uses = self._room.stay(key).uses
            if is_same(before, entry):
                entry = replace(entry, good=before.good, bad=before.bad)
                self._drop(key, is_replaced=True)
            else:
                self.remove_now(entry.scope, before.id)  # with its aliases: they have the old answer
        exact = self._ids.get((entry.scope, entry.id))
        if exact is not None:
            self._drop((entry.scope, exact))
        return entry, uses

    def _drop(self, key: Key, *, is_replaced: bool = False) -> None:
        self._room.leave(key)
        entry = self._kept.pop(key)
        self._parsed.drop(entry)
        del self._ids[entry.scope, entry.id]
        if entry.alias_of is not None:
            aliases = self._aliases[entry.scope, entry.alias_of]
            aliases.discard(entry.exact)
            if not aliases:
                del self._aliases[entry.scope, entry.alias_of]
        if not is_replaced:
            self._verdicts.pop((entry.scope, entry.id), None)

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
        kept = next((kept for kept in self._visible() if kept.id == entry_id and kept.tenant == tenant), None)
        return None if kept is None else self._parsed.of(kept)

    async def put(self, entry: Entry) -> None:
        if entry.alias_of is not None and (entry.scope, entry.alias_of) not in self._ids:
            return
        if not self._keep(entry):
            raise CacheError(f"entry {entry.id} is larger than the memory budget of {self._room.most_bytes} bytes")

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        return self.remove_now(scope, entry_id)

    async def remove_all(self, selection: Selection) -> list[Gone]:
        return self.remove_all_now(selection)

    async def select(self, selection: Selection, page: Page) -> list[Listed]:
        chosen = [self._listed(entry) for entry in self._kept.values() if is_meant(selection, entry)]
        chosen.sort(key=lambda row: row.place, reverse=True)
        return [row for row in chosen if page.after is None or row.place < page.after][: page.limit]

    def _listed(self, entry: Packed) -> Listed:
        stay = self._room.stay((entry.scope, entry.exact))
        return listed(entry, (entry.created_s, stay.number), stay.size, stay.uses - 1)

    async def requests(self, scope: bytes, limit: int) -> list[tuple[str, bytes]]:
        rows = await self.select(Selection(scope=scope), Page(limit))
        return [(row.id, self._kept[scope, self._ids[scope, row.id]].canonical) for row in rows]

    async def count(self, selection: Selection) -> int:
        return sum(is_meant(selection, entry) for entry in self._kept.values())

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        kept = self._kept.get((entry.scope, entry.exact))
        if kept is None or not is_same(kept, entry):
            return None
        said = self._verdicts.setdefault((entry.scope, entry.id), {})
        before = said.pop(verdict.source, None)
        good, bad = counted((kept.good, kept.bad), None if before is None else before.is_good, is_good=verdict.is_good)
        said[verdict.source] = verdict
        if len(said) > MAX_VERDICTS:
            del said[next(iter(said))]
        self.rate_now(entry, good, bad)
        own = Selection(id=entry.id, scope=entry.scope)
        return Tally(good, bad, tuple(self.remove_all_now(own)) if bad >= BAD_RETIRES else ())

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        return sorted(self._verdicts.get((scope, entry_id), {}).values(), key=lambda verdict: verdict.at_s)

    async def figures(self) -> Figures:
        return Figures("memory", len(self), self.bytes_kept, self.stats.evicted, self.stats.expired)

    def has_lost_elsewhere(self) -> bool:
        """Nobody else can reach it."""
        return False

    async def is_purged(self) -> bool:
        return True

    async def closed(self, selection: Selection) -> int:  # noqa: ARG002
        return 0

    def take_gone(self) -> list[Gone]:
        """Nothing is noted: an index meets what is gone when it finds it."""
        return []

    async def count_hit(self, entry_id: str, times: int = 1) -> None:
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

    def _visible(self) -> list[Packed]:
        """Entries that are not gone yet, oldest first."""
        horizon_s = self._now() - self._keep_stale_s
        entries = [entry for entry in self._kept.values() if entry.is_fresh(horizon_s)]
        return sorted(entries, key=lambda entry: entry.created_s)

    async def size(self) -> int:
        return len(self._kept)

    def mark(self) -> bytes:
        return b""

    async def close(self) -> None:
        self.clear_now()

    def clear_now(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._parsed.clear()
        self._packing = Packing()
        self._ids.clear()
        self._aliases.clear()
        self._verdicts.clear()
        self._room = self._new_room()


def is_same(one: Entry | Packed, other: Entry | Packed) -> bool:
    """Whether two entries of one request are one answer, not a later one."""
    return one.id == other.id and one.created_s == other.created_s


def is_meant(selection: Selection, entry: Entry | Packed) -> bool:
    """Whether an entry is selected, its texts included."""
    if not selection.matches(entry):
        return False
    if selection.text is None:
        return True
    wanted = needle(selection.text)
    encoded = entry.encoded if isinstance(entry, Packed) else encode(entry.completion)
    return wanted in entry.canonical.lower() or wanted in encoded.lower()


def gone(entries: Iterable[Entry | Packed]) -> list[Gone]:
    return [Gone(entry.id, entry.scope, entry.compat) for entry in entries]


def listed(entry: Entry | Packed, place: tuple[float, int], size: int, hits: int) -> Listed:
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
        origin=entry.origin,
    )
