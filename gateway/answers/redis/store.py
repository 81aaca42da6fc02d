"""Answers in a Redis, or a Redis Cluster, that any number of gateways share.

An entry lies on one of sixteen shelves (`keys.py`) as a card, a body and a vector (`card.py`); what has to happen at
once happens in a script on one shelf (`scripts.py`). Everything done is told on the feed, so that the other gateways'
memories and indexes follow (`gateway.shared`). The ways of a request:

    get, by_id     one script, one round trip; an alias, or an import with a name of its own, takes two
    put            one script: it replaces, makes room, tells
    anything else  is behind an answer, or an operator's

Redis ends what ended, a while after our own look at the clock does; the budget is ours, a sixteenth of it for each
shelf. While Redis is away reads fail (and memory in front of us serves), writes wait (`behind.py`), removals, too:
whoever asked for one is told that it is to come. Whatever goes wrong is a `CacheError`, counted.

Unlike the file, this store remembers how often something was asked for only per gateway, and forgets with Redis.
"""

import asyncio
import logging
import math
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from gateway.answers.base import (
    CacheError,
    Embedded,
    Entry,
    Figures,
    Gone,
    Overtaken,
    Tally,
    Unembedded,
    Verdict,
)
from gateway.answers.memory import KEEP_STALE_S
from gateway.answers.redis import scripts
from gateway.answers.redis.behind import Behind, Put, Remove, Vector, Write
from gateway.answers.redis.card import Broken, Cards
from gateway.answers.redis.catalog import Catalog
from gateway.answers.redis.connection import Away, Link, Refused, pairs
from gateway.answers.redis.order import Order
from gateway.answers.redis.places import Shelves, linked
from gateway.answers.redis.removals import EVERYTHING, Removals
from gateway.answers.redis.resealing import Resealing
from gateway.answers.redis.uses import Uses
from gateway.answers.redis.writer import Budget, Writer
from gateway.answers.selection import Listed, Page, Selection

log = logging.getLogger(__name__)

MIB = 2**20
T = TypeVar("T")
HITS_EVERY_S = 1.0
REFUSALS_SHOWN_S = 60.0
ROOM_BYTES = 1 << 14  # of each shelf, for writing down a removal
ROOM_ATTEMPTS = 3
SKEW_S = 1.0  # between our clock and that of Redis, that is no matter
MOST_AHEAD_S = 86_400.0
FLUSH_TOGETHER = 32
FLUSH_EVERY_S = 0.1
FLUSH_AT_END_S = 2.0


class RedisAnswers:
    """An `Answers` store behind `link`. Belongs to one event loop; does not close the link."""

    def __init__(
        self,
        link: Link,
        *,
        replica: bytes,
        budget_bytes: int | None,
        tenant_bytes: int | None = None,
        policy: str = "cost",
        seed: int = 0,
        keep_stale_s: float = KEEP_STALE_S,
        queue_bytes: int = 16 * MIB,
        hits_every_s: float = HITS_EVERY_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`replica` is this process's name on the feed."""
        self._link = link
        self._names = link.names
        self._cards = Cards(link.names, link.seal)
        self._shelves = Shelves(link, replica)
        self._catalog = Catalog(self._shelves, self._cards)
        self._behind = Behind(queue_bytes)
        budget = Budget(budget_bytes, tenant_bytes, policy, seed)
        self._removals = Removals(link, self._shelves, replica)
        self._writer = Writer(self._shelves, self._removals, self._cards, link.names, budget, keep_stale_s, now)
        self._uses = Uses(self._writer.write_uses, hits_every_s)
        self._order = Order()
        self._now = now
        self._has_lost = False
        self._flushing: asyncio.Task[None] | None = None
        self.resealing = Resealing(link, self._catalog, self._writer)
        self._refusal, self._refused_s = "", -math.inf
        self.stats = self._writer.stats

    async def open(self) -> None:
        """Raises `CacheError` when Redis is away; everything works from the moment it is back all the same."""
        await self._link.open()
        await self.learn_clock()
        await self._removals.open()
        await self._writer.adopt()
        await self._link.warn_of_policy()
        await self.resealing.open()

    async def learn_clock(self) -> None:
        """Compare our clock with that of Redis, by which all gateways say when something ends."""
        before_s = self._now()
        seconds, micros = await self._link.run(scripts.CLOCK, self._names.feed)
        ahead_s = int(seconds) + int(micros) / 1e6 - (before_s + self._now()) / 2
        if abs(ahead_s) > MOST_AHEAD_S:  # not a clock of this time: nothing can be made of it
            self._cards.ahead_s = 0
            return
        self._cards.ahead_s = round(ahead_s) if abs(ahead_s) >= SKEW_S else 0

    # -- one entry ---------------------------------------------------------------------------------------------------

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        if (waiting := self._behind.find(scope, exact)) is not None:
            return waiting if waiting.is_fresh(self._writer.horizon_s()) else None
        member = self._names.member(scope, exact)
        reply, shelf = await self._shelves.follow(scripts.GET, self._names.shelf_of(exact), (member,), member)
        return None if reply is None else await self._read(shelf, member, *reply)

    async def by_id(self, scope: bytes, entry_id: str) -> Entry | None:
        return await self._named(scope, entry_id, "")

    async def peek(self, scope: bytes, exact: bytes) -> Entry | None:
        return await self.get(scope, exact)

    async def owned(self, tenant: str, entry_id: str) -> Entry | None:
        return await self._named(b"", entry_id, tenant)

    async def many(self, keys: Sequence[tuple[bytes, bytes]]) -> list[Entry | None]:
        """The entries under these (scope, exact): one round trip, and another one if there are aliases among them."""
        members = [self._names.member(scope, exact) for scope, exact in keys]
        shelves = [self._names.shelf_of(exact) for _, exact in keys]
        replies = await self._fetched(shelves, members)
        if aliases := {n: there for n, reply in enumerate(replies) if (there := linked(reply)) is not None}:
            again = await self._fetched(list(aliases.values()), [members[n] for n in aliases])
            for (n, there), reply in zip(aliases.items(), again, strict=True):
                shelves[n], replies[n] = there, None if linked(reply) is not None else reply
        return [
            None if reply is None else await self._read(shelf, member, *reply)
            for shelf, member, reply in zip(shelves, members, replies, strict=True)
        ]

    async def _fetched(self, shelves: Sequence[int], members: Sequence[bytes]) -> list[Any]:
        calls = [(shelf, (member,)) for shelf, member in zip(shelves, members, strict=True)]
        return await self._shelves.run_all(scripts.GET, calls) if calls else []

    async def put(self, entry: Entry) -> None:
        """Keep `entry`. While Redis is away it waits, and is kept later.

        Raises `CacheError` when too much waits, `Overtaken` when it began before a removal that selects it.
        """
        known = self._known(entry)
        packed = self._writer.pack(entry)
        async with self._order.after(entry.scope + entry.exact):
            if len(self._behind) == 0:
                try:
                    known_then = EVERYTHING if entry.began is None else known
                    if not await self._writer.put(entry, packed, known_then, is_late=False):
                        raise Overtaken(f"what selects {entry.id} was removed after it began to be made")
                    return
                except Away:
                    pass
                except Refused as refused:
                    self._note(refused)
                    raise
            self._wait(Put(entry, packed.size_bytes, known))

    async def put_late(self, entry: Entry) -> None:
        """As `put`, but an answer that was made later, and is there already, stays."""
        await self._writer.put(entry, self._writer.pack(entry), self._known(entry), is_late=True)

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        """Raises `CacheError` when Redis is away: it is done when it is back."""
        selection = Selection(scope=scope, id=entry_id)
        await self._may_remove(selection)
        try:
            return await self._removing(selection, lambda: self._writer.remove(scope, entry_id))
        except Away as away:
            raise self._remove_later(selection) from away

    async def remove_all(self, selection: Selection) -> list[Gone]:
        """Entries put after this began stay. Raises `CacheError` when Redis is away: it is done when it is back."""
        await self._may_remove(selection)
        try:
            return await self._removing(selection, lambda: self._catalog.remove_all(selection))
        except Away as away:
            raise self._remove_later(selection) from away

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        async with self._order.after(entry.scope + entry.exact):
            tally = await self._writer.judge(entry, verdict)
        if tally is not None and tally.is_retired:
            with suppress(CacheError):  # it is gone all the same; what waits elsewhere may bring it back
                await self._removals.add(Selection(id=entry.id, scope=entry.scope))
        return tally

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        reply, _ = await self._shelves.follow_id(scripts.VERDICTS, scope, entry_id)
        found = [
            Verdict(
                source.decode(),
                said[:1] == b"1",
                self._cards.open_comment(said[9:], scope, entry_id),
                struct.unpack("<d", said[1:9])[0],
            )
            for source, said in pairs(reply)
        ]
        return sorted(found, key=lambda verdict: verdict.at_s)

    async def count_hit(self, entry_id: str, times: int = 1) -> None:
        self._uses.count(entry_id, times)

    async def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        self._uses.prolong(scope, entry_id, expires_s)

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        write = Vector(row, embedder, vector)
        if len(self._behind) == 0:
            try:
                return await self._writer.set_vector(write)
            except Away:
                pass
        self._wait(write)
        return True

    # -- many entries ------------------------------------------------------------------------------------------------

    async def select(self, selection: Selection, page: Page) -> list[Listed]:
        return await self._catalog.select(selection, page, -math.inf)

    async def requests(self, scope: bytes, limit: int) -> list[tuple[str, bytes]]:
        return await self._catalog.requests(scope, limit, -math.inf)

    async def count(self, selection: Selection) -> int:
        return await self.size() if selection.is_empty else await self._catalog.count(selection, -math.inf)

    def embedded(self, embedder: str) -> AsyncIterator[Embedded]:
        return self._catalog.embedded(embedder, self._writer.horizon_s())

    def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        return self._catalog.unembedded(embedder, self._writer.horizon_s())

    async def size(self) -> int:
        return (await self._sums())[0]

    async def figures(self) -> Figures:
        entries, size = await self._sums()
        return Figures("redis", entries, size, self.stats.evicted, self.stats.expired)

    async def _sums(self) -> tuple[int, int]:
        sums = await self._shelves.run_all(scripts.SUMS, [(shelf, ()) for shelf in self._shelves.all])
        return sum(entries for entries, _ in sums), sum(size for _, size in sums)

    # -- removals elsewhere -------------------------------------------------------------------------------------------

    def mark(self) -> bytes:
        return self._removals.newest

    def heard(self, place: bytes, selection: Selection) -> None:
        """The feed told of a removal."""
        self._removals.heard(place)
        self._behind.forget(selection)

    def _known(self, entry: Entry) -> bytes:
        return self._removals.newest if entry.began is None else entry.began.there

    # -- what others hear, and the operator ----------------------------------------------------------------------------

    def has_lost_elsewhere(self) -> bool:
        """Whether somebody said that nothing in memory is to be believed: one removal more is heard on the feed."""
        has_lost, self._has_lost = self._has_lost, False
        return has_lost

    def distrust(self) -> None:
        """Nobody knows what was removed: whatever is in memory is to be read anew."""
        self._has_lost = True

    async def is_purged(self) -> bool:
        return True  # what Redis itself writes to a disk is its operator's

    async def closed(self, selection: Selection) -> int:  # noqa: ARG002 - a card tells nothing before it is opened
        before = self._catalog.closed
        async with aclosing(self._catalog.rows()) as rows:
            async for _ in rows:
                pass
        return self._catalog.closed - before

    def take_gone(self) -> list[Gone]:
        taken, self._writer.gone = list(self._writer.gone.values()), {}
        return taken

    @property
    def state(self) -> str:
        """For the operator: "ready", or what is wrong."""
        waits = f"; {len(self._behind)} writes wait" if len(self._behind) else ""
        is_refusing = time.monotonic() - self._refused_s < REFUSALS_SHOWN_S
        ahead_s = self._cards.ahead_s
        clock = f"; this machine's clock is {abs(ahead_s)} s {'behind' if ahead_s > 0 else 'ahead'}" if ahead_s else ""
        return self._link.state + clock + waits + (f"; writes are refused: {self._refusal}" if is_refusing else "")

    def report(self) -> dict[str, Any]:
        """For stats and metrics."""
        link, stats = self._link, self.stats
        return {
            "state": self.state,
            "is_up": not link.is_away,
            "is_cluster": link.is_cluster,
            "commands": link.commands,
            "round_trips": link.round_trips,
            "failures": dict(link.failures),
            "waiting": len(self._behind),
            "waited": stats.waited,
            "dropped": self._behind.dropped,
            "uses": self._uses.lost,
            "untold": self._shelves.never_told,
            "refused": stats.refused,
            "overtaken": stats.overtaken,
            "broken": stats.broken + self._catalog.broken,
            "lost": stats.lost,
        }

    async def close(self) -> None:
        """Write what waits, if Redis is there."""
        await self.resealing.close()
        await self._uses.close()
        if self._flushing is not None:
            await asyncio.wait([self._flushing], timeout=0 if self._link.is_away else FLUSH_AT_END_S)
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        if len(self._behind):
            log.warning("%d writes that waited for redis are lost", len(self._behind))

    # -- how it is done ------------------------------------------------------------------------------------------------

    async def _named(self, scope: bytes, entry_id: str, tenant: str) -> Entry | None:
        reply, shelf = await self._shelves.follow_id(scripts.BY_ID, scope, entry_id, tenant)
        return None if reply is None else await self._read(shelf, *reply)

    async def _read(
        self, shelf: int, member: bytes, card: bytes, body: bytes | None, vector: bytes | None
    ) -> Entry | None:
        """What lies there, if it is ours, whole, and not gone; what is not is deleted."""
        try:
            known = self._cards.read_card(member, card)
            if not known.is_fresh(self._writer.horizon_s()):
                return None
            if body is None or (known.has_vector and vector is None):
                self.stats.lost += 1
                await self._writer.drop(shelf, member, "out")
                return None
            return self._visible(self._cards.read(known, body, vector))
        except Broken as broken:
            if broken.is_foreign:  # its key may come back
                return None
            log.error("an entry in redis cannot be read, deleting it: %s", broken)
            self.stats.broken += 1
            await self._writer.drop(shelf, member, "")
            return None

    def _visible(self, entry: Entry) -> Entry | None:
        return None if not entry.is_fresh(self._writer.horizon_s()) or self._behind.hides(entry) else entry

    # -- while Redis is away -------------------------------------------------------------------------------------------

    def _wait(self, write: Put | Vector) -> None:
        if not self._behind.add(write):
            raise CacheError(f"redis is away, and {len(self._behind)} writes wait for it already")
        self.stats.waited += 1
        self._flush_soon()

    async def _may_remove(self, selection: Selection) -> None:
        """Wait for what was to be written before. Raises `Away` when that cannot be: the removal waits, too."""
        await self._order.after_all()
        if self._flushing is not None and len(self._behind) and not self._link.is_away:
            await asyncio.wait([self._flushing], timeout=FLUSH_AT_END_S)
        if len(self._behind):
            raise self._remove_later(selection)

    def _remove_later(self, selection: Selection) -> Away:
        self._behind.remove(selection)
        self._flush_soon()
        return Away("redis is away: what was to be removed is hidden here, and removed when it is back")

    async def _removing(self, selection: Selection, remove: Callable[[], Awaitable[T]]) -> T:
        """Make a removal known, then do it. Where a full server cannot write it down, it makes room for that."""
        try:
            await self._removals.add(selection)
            return await remove()
        except Refused as refused:
            if refused.code != "OOM":
                raise
        found = await remove()
        await self._announce(selection)
        await remove()  # what came in between
        return found

    async def _announce(self, selection: Selection) -> None:
        for attempt in range(ROOM_ATTEMPTS):
            with suppress(Refused):
                await self._writer.free(ROOM_BYTES << attempt)
            with suppress(Refused):
                await self._removals.add(selection)
                return
        log.warning(
            "a removal could not be written down, redis is full: what waits elsewhere may bring some of it back"
        )

    def _flush_soon(self) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        """Do what waits, in order, as soon as Redis lets us."""
        while len(self._behind):
            writes = self._behind.first(FLUSH_TOGETHER)
            results = await asyncio.gather(*(self._do(write) for write in writes), return_exceptions=True)
            num_done = next((n for n, result in enumerate(results) if isinstance(result, Away)), len(results))
            for result in results[:num_done]:
                if isinstance(result, BaseException) and not isinstance(result, CacheError):
                    log.error("a write that waited for redis failed: %r", result, exc_info=result)
                if isinstance(result, BaseException):
                    self._note(result)
            self._behind.done(writes[:num_done])
            if num_done < len(results):
                await asyncio.sleep(FLUSH_EVERY_S)

    async def _do(self, write: Write) -> None:
        match write:
            case Put(entry, _, known):
                if not await self._writer.put(entry, self._writer.pack(entry), known, is_late=True):
                    self.distrust()  # memory has it, and whatever else was removed meanwhile
            case Vector():
                await self._writer.set_vector(write)
            case Remove(selection):
                await self._removing(selection, lambda: self._catalog.remove_all(selection))

    def _note(self, refused: BaseException) -> None:
        self.stats.refused += 1
        self._refusal, self._refused_s = str(refused), time.monotonic()
