"""Memory in front of a store: what was asked lately is had without waiting, the rest outlives the process.

A failing store is heard of (`CacheError`, so the caller counts it) but never takes what memory has: memory is asked
first and written first.

    begin ... put_now     what is removed between the two is not kept: the answer began before its removal
    put_now ... settle    in memory at once, in the store later; what is removed between the two stays removed

Another process on the same store may remove what is here in memory: every look asks the store for that first, or
whoever hears of it (`gateway.shared`) tells memory by `..._near`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from gateway.answers.base import Embedded, Entry, Figures, Gone, Mark, Overtaken, Store, Tally, Unembedded, Verdict
from gateway.answers.memory import MemoryAnswers, is_meant
from gateway.answers.packed import Packed
from gateway.answers.removals import Removals
from gateway.answers.selection import Listed, Page, Selection


class TieredAnswers:
    """An `Answers` store of two levels. Belongs to one event loop."""

    def __init__(self, memory: MemoryAnswers, store: Store) -> None:
        self._memory = memory
        self._store = store
        self._writes = 0  # puts and removals so far: what was read before one may be old after it
        self._pending: dict[tuple[bytes, str], Entry] = {}  # put now and not settled
        self._removals = Removals()

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry if memory has it: the hot path, without an await."""
        return self._near.get_now(scope, exact)

    def peek_now(self, scope: bytes, exact: bytes) -> Entry | None:
        """As `get_now`, but no use of the entry."""
        return self._near.peek_now(scope, exact)

    def stamp_now(self, scope: bytes, exact: bytes) -> object | None:
        """What memory has under this fingerprint, by something that is another one as soon as anything of it is."""
        return self._near.stamp_now(scope, exact)

    def use_now(self, scope: bytes, exact: bytes, times: int) -> None:
        """Count uses of an entry that was given without being asked for here."""
        self._memory.use_now(scope, exact, times)

    @property
    def _near(self) -> MemoryAnswers:
        """Memory, without what somebody else may have removed: nobody can say what that was, so all of it goes."""
        if self._store.has_lost_elsewhere():
            self._writes += 1  # what is being read now may be gone as well
            self._memory.clear_now()
        return self._memory

    def shed(self) -> None:
        """Let memory hold half; the store has all of it."""
        self._memory.shed_now()

    def begin(self) -> Mark:
        """Names this moment, for an answer that begins to be made."""
        return Mark(self._removals.count, self._store.mark())

    def is_overtaken(self, began: Mark, entry_id: str) -> bool:
        """Whether an answer of this name that began then may have been removed since: nobody should wait for it."""
        return any(one.id in (None, entry_id) for one in self._removals.since(began.here))

    def put_now(self, entry: Entry) -> bool:
        """Keep `entry` in memory alone; `settle` makes it last. Raises `CacheError` for what JSON cannot hold.

        One that was removed after it began to be made is not kept: False.
        """
        if entry.began is not None and any(is_meant(one, entry) for one in self._removals.since(entry.began.here)):
            return False
        self._writes += 1
        self._memory.put_now(entry)
        self._pending[entry.scope, entry.id] = entry
        return True

    async def settle(self, entry: Entry) -> bool:
        """Make last what `put_now` kept; False when it was removed or replaced since: then it is nowhere."""
        key = (entry.scope, entry.id)
        if self._pending.get(key) is not entry:
            return False
        try:
            await self._store.put(entry)  # a removal that comes now is queued behind it
        except Overtaken:
            if self._pending.get(key) is entry:
                self._memory.remove_now(*key)
            return False
        finally:
            self._writes += 1  # a read that overlapped the write may hold what was there before
            if self._pending.get(key) is entry:
                del self._pending[key]
        return True

    def abandon(self, entry: Entry) -> None:
        """It will not be settled."""
        if self._pending.get((entry.scope, entry.id)) is entry:
            del self._pending[entry.scope, entry.id]

    async def open(self) -> None:
        """Open the store. Raises `CacheError`; memory works all the same."""
        await self._store.open()

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        """From memory, else from the store into memory.

        Raises `CacheError` when the store had to be asked and fails: not knowing is not the same as having none.
        """
        found = self._near.get_now(scope, exact)
        return found if found is not None else await self._fetched(lambda: self._store.get(scope, exact))

    def by_id_now(self, scope: bytes, entry_id: str) -> Entry | None:
        """The entry of this name if memory has it; no use of it."""
        return self._near.by_id_now(scope, entry_id)

    def near_now(self, scope: bytes, entry_ids: Sequence[str]) -> list[Packed | None]:
        """As `by_id_now` of each, as memory keeps it."""
        return self._near.near_now(scope, entry_ids)

    def whole_now(self, kept: Packed) -> Entry:
        """What `near_now` gave, parsed."""
        return self._memory.whole_now(kept)

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        """As `get`, by name."""
        found = self._near.by_id_now(scope, entry_id)
        return (
            found
            if found is not None
            else await self._fetched(lambda: self._store.by_id(scope, entry_id), is_use=False)
        )

    async def peek(self, scope: bytes, exact: bytes) -> Entry | None:
        found = self._near.peek_now(scope, exact)
        return found if found is not None else await self._store.peek(scope, exact)

    async def owned(self, tenant: str, entry_id: str) -> Entry | None:
        pending = next((e for (_, name), e in self._pending.items() if name == entry_id and e.tenant == tenant), None)
        return pending if pending is not None else await self._store.owned(tenant, entry_id)

    async def put(self, entry: Entry) -> None:
        """Keep `entry` in memory, then in the store. After a `CacheError` memory still has it."""
        if entry.alias_of is not None:
            await self.put_far(entry)  # the store knows whether there still is what it is an alias of
            return
        self.put_now(entry)
        await self.settle(entry)

    async def put_far(self, entry: Entry) -> None:
        """Keep `entry` in the store alone; memory fetches it when it is asked for."""
        try:
            await self._store.put(entry)
        finally:
            self._unsettle(Selection(scope=entry.scope, exact=entry.exact))
            self._memory.remove_all_now(Selection(scope=entry.scope, exact=entry.exact))

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        was_near = self._memory.remove_now(scope, entry_id)
        self._cancel(Selection(scope=scope, id=entry_id))
        try:
            was_far = await self._store.remove(scope, entry_id)
        finally:
            self._writes += 1
            self._memory.remove_now(scope, entry_id)  # a read that was faster than the removal may have brought it back
        return was_near or was_far

    async def remove_all(self, selection: Selection) -> list[Gone]:
        """Forget what is selected, here and in the store."""
        near = self._memory.remove_all_now(selection)
        self._cancel(selection)
        try:
            far = await self._store.remove_all(selection)
        finally:
            self._writes += 1
            self._memory.remove_all_now(selection)
        return list(dict.fromkeys([*near, *far]))

    async def select(self, selection: Selection, page: Page) -> list[Listed]:
        """Of the store: what was put this moment follows."""
        return await self._store.select(selection, page)

    async def requests(self, scope: bytes, limit: int) -> list[tuple[str, bytes]]:
        return await self._store.requests(scope, limit)

    async def count(self, selection: Selection) -> int:
        return await self._store.count(selection)

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        waiting = self._pending.get((entry.scope, entry.id))
        if waiting is not None:
            await self.settle(waiting)
        tally = await self._store.judge(entry, verdict)
        if tally is None:
            return None
        if tally.is_retired:
            self._writes += 1
            self._memory.remove_all_now(Selection(scope=entry.scope, id=entry.id))
        else:
            self._memory.rate_now(entry, tally.good, tally.bad)
        return tally

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        return await self._store.verdicts(scope, entry_id)

    async def figures(self) -> tuple[Figures, ...]:
        """Of memory, then of the store."""
        return await self._memory.figures(), await self._store.figures()

    # -- what other processes did --------------------------------------------------------------------------------

    def forget_near(self, scope: bytes, exact: bytes, entry_id: str, *, is_gone: bool) -> None:
        """Memory's copy is not what the store has, aliases included; what is gone and waits to be written is not.

        No word on what is being made: who removes says what is selected, too (`forget_all_near`).
        """
        self._writes += 1  # what is being read now may be older
        if (known := self._memory.peek_now(scope, exact)) is not None:
            self._memory.remove_now(scope, known.id)
        self._memory.remove_now(scope, entry_id)
        if is_gone:
            self._unsettle(Selection(scope=scope, id=entry_id))

    def forget_all_near(self, selection: Selection) -> list[Gone]:
        """Another process removes what is selected, and may not know of all that is here, or being made here."""
        self._cancel(selection)
        return self._memory.remove_all_now(selection)

    def set_vector_near(self, row: Unembedded, embedder: str, vector: bytes) -> None:
        self._memory.set_vector_now(row, embedder, vector)

    def clear_near(self) -> None:
        """Nobody knows what others did, nor what they removed: read everything anew, and keep nothing that is being
        made. What waits to be written still will be: the store knows what was removed.
        """
        self._writes += 1
        self._removals.note(Selection())
        self._memory.clear_now()

    # ------------------------------------------------------------------------------------------------------------

    async def is_purged(self) -> bool:
        """Whether nothing of what was removed lies where the store does. Raises `CacheError`."""
        return await self._store.is_purged()

    async def closed(self, selection: Selection) -> int:
        """Entries that do not open, so that nobody can say whether they are meant. Raises `CacheError`."""
        return await self._store.closed(selection)

    def take_gone(self) -> list[Gone]:
        """What the store let go by itself since the last call, for an index to forget."""
        return self._store.take_gone()

    async def count_hit(self, entry_id: str, times: int = 1) -> None:
        await self._store.count_hit(entry_id, times)

    async def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        self._memory.prolong_now(scope, entry_id, expires_s)
        await self._store.prolong(scope, entry_id, expires_s)

    def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        return self._store.embedded(embedder)

    def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        return self._store.unembedded(embedder)

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        self._memory.set_vector_now(row, embedder, vector)  # no write of an answer: what is read meanwhile stays right
        return await self._store.set_vector(row, embedder, vector)

    async def size(self) -> int:
        return await self._store.size()

    async def close(self) -> None:
        await self._store.close()
        await self._memory.close()

    def _cancel(self, selection: Selection) -> None:
        """What is selected and not settled yet, or not even whole, will not be."""
        self._removals.note(selection)
        self._unsettle(selection)

    def _unsettle(self, selection: Selection) -> None:
        self._writes += 1
        for key in [key for key, entry in self._pending.items() if is_meant(selection, entry)]:
            del self._pending[key]

    async def _fetched(self, fetch: Callable[[], Awaitable[Entry | None]], *, is_use: bool = True) -> Entry | None:
        """Read from the store, and keep it near unless something was written or removed meanwhile."""
        writes = self._writes
        entry = await fetch()
        if entry is not None and writes == self._writes:
            self._memory.put_now(entry, is_use=is_use)
        return entry
