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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

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
)
from gateway.answers.memory import KEEP_STALE_S
from gateway.answers.popularity import Popularity
from gateway.answers.redis import scripts
from gateway.answers.redis.behind import Behind, Put, Remove, Vector, Write, until
from gateway.answers.redis.card import Broken, Cards
from gateway.answers.redis.catalog import Catalog, gone_of
from gateway.answers.redis.connection import Away, Link, Refused, Script, Value
from gateway.answers.redis.keys import SHELVES
from gateway.answers.redis.places import Shelves, Told, linked
from gateway.answers.redis.uses import Ends, Uses
from gateway.answers.selection import Listed, Page, Selection

log = logging.getLogger(__name__)

MIB = 2**20
HITS_EVERY_S = 1.0
GRACE_S = 600.0  # Redis ends things so long after we would: what is accounted for goes first
ROOM_FOR = 32  # of what did not fit: as much is freed where Redis is full before our budget is
ROOM_ATTEMPTS = 3
MAX_GONE = 100_000  # entries let go that nobody has asked for yet
FLUSH_TOGETHER = 32
FLUSH_EVERY_S = 0.1
FLUSH_AT_END_S = 2.0


@dataclass(slots=True)
class RedisStats:
    """What the store did since the start."""

    puts: int = 0
    evicted: int = 0
    expired: int = 0
    broken: int = 0  # entries that could not be verified or read, and were deleted
    lost: int = 0  # entries whose body Redis let go before us
    refused: int = 0  # writes that Redis refused
    waited: int = 0  # writes that had to wait for Redis


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
        self._cards = Cards(link.names)
        self._shelves = Shelves(link, replica)
        self._catalog = Catalog(self._shelves, self._cards)
        self._behind = Behind(queue_bytes)
        self._uses = Uses(self._write_uses, hits_every_s)
        self._popularity = Popularity(budget_bytes or 0)
        self._draws = Random(seed)  # noqa: S311 (no secret)
        self._shelf_bytes = 0 if budget_bytes is None else max(1, budget_bytes // SHELVES)
        self._tenant_bytes = 0 if tenant_bytes is None else max(1, tenant_bytes // SHELVES)
        self._policy = policy
        self._keep_stale_s = keep_stale_s
        self._now = now
        self._gone: dict[tuple[bytes, str], Gone] = {}
        self._has_lost = False
        self._flushing: asyncio.Task[None] | None = None
        self._refusal = ""
        self.stats = RedisStats()

    async def open(self) -> None:
        """Raises `CacheError` when Redis is away; everything works from the moment it is back all the same."""
        await self._link.open()
        await self._shelves.run_all(
            scripts.ADOPT, [(shelf, (self._policy, self._now())) for shelf in self._shelves.all]
        )

    # -- one entry ---------------------------------------------------------------------------------------------------

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        if (waiting := self._behind.find(scope, exact)) is not None:
            return self._visible(waiting)
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
        """The entries under these (scope, exact), in one round trip; None for an alias and for what cannot be read."""
        members = [self._names.member(scope, exact) for scope, exact in keys]
        shelves = [self._names.shelf_of(exact) for _, exact in keys]
        calls = [(shelf, (member,)) for shelf, member in zip(shelves, members, strict=True)]
        replies = await self._shelves.run_all(scripts.GET, calls)
        return [
            None if reply is None or linked(reply) is not None else await self._read(shelf, member, *reply)
            for shelf, member, reply in zip(shelves, members, replies, strict=True)
        ]

    async def put(self, entry: Entry) -> None:
        """Keep `entry`. While Redis is away it waits, and is kept later; raises `CacheError` when too much waits."""
        write = Put(entry, self._weighed(entry))
        if len(self._behind) == 0:
            try:
                await self._put(entry, is_late=False)
                return
            except Away:
                pass
        self._wait(write)

    async def put_late(self, entry: Entry) -> None:
        """As `put`, but an answer that was made later, and is there already, stays."""
        await self._put(entry, is_late=True)

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        if len(self._behind):
            raise self._remove_later(Selection(scope=scope, id=entry_id))
        try:
            return await self._remove(scope, entry_id)
        except Away as away:
            raise self._remove_later(Selection(scope=scope, id=entry_id)) from away

    async def remove_all(self, selection: Selection) -> list[Gone]:
        """Entries put after this began stay. Raises `CacheError` when Redis is away: it is done when it is back."""
        if len(self._behind):
            raise self._remove_later(selection)
        try:
            return await self._catalog.remove_all(until(selection, self._now()))
        except Away as away:
            raise self._remove_later(selection) from away

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        member, made = self._names.member(entry.scope, entry.exact), struct.pack("<d", entry.created_s)
        said = ("1" if verdict.is_good else "0", verdict.comment, struct.pack("<d", verdict.at_s))
        asked: tuple[Value, ...] = (member, made, verdict.source, *said, MAX_VERDICTS, BAD_RETIRES)
        reply, _ = await self._shelves.follow(scripts.JUDGE, self._names.shelf_of(entry.exact), (member,), *asked)
        if reply is None:
            return None
        good, bad, told = reply
        await self._shelves.tell(told)
        return Tally(good, bad, tuple(gone_of(told)))

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]:
        reply, _ = await self._follow_id(scripts.VERDICTS, scope, entry_id)
        pairs = zip(reply[::2], reply[1::2], strict=True) if isinstance(reply, list) else (reply or {}).items()
        found = [
            Verdict(source.decode(), said[:1] == b"1", said[9:].decode(), struct.unpack("<d", said[1:9])[0])
            for source, said in pairs
        ]
        return sorted(found, key=lambda verdict: verdict.at_s)

    async def count_hit(self, entry_id: str) -> None:
        self._uses.count(entry_id)

    async def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> None:
        self._uses.prolong(scope, entry_id, expires_s)

    async def set_vector(self, row: Unembedded, embedder: str, vector: bytes) -> bool:
        write = Vector(row, embedder, vector)
        if len(self._behind) == 0:
            try:
                return await self._set_vector(write)
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
        return self._catalog.embedded(embedder, self._horizon_s())

    def unembedded(self, embedder: str) -> AsyncIterator[Unembedded]:
        return self._catalog.unembedded(embedder, self._horizon_s())

    async def size(self) -> int:
        return (await self._sums())[0]

    async def figures(self) -> Figures:
        entries, size = await self._sums()
        return Figures("redis", entries, size, self.stats.evicted, self.stats.expired)

    async def _sums(self) -> tuple[int, int]:
        sums = await self._shelves.run_all(scripts.SUMS, [(shelf, ()) for shelf in self._shelves.all])
        return sum(entries for entries, _ in sums), sum(size for _, size in sums)

    # -- what others hear, and the operator ----------------------------------------------------------------------------

    def has_lost_elsewhere(self) -> bool:
        """Whether somebody said that nothing in memory is to be believed: one removal more is heard on the feed."""
        has_lost, self._has_lost = self._has_lost, False
        return has_lost

    def distrust(self) -> None:
        """Nobody knows what was removed: whatever is in memory is to be read anew."""
        self._has_lost = True

    def take_gone(self) -> list[Gone]:
        taken, self._gone = list(self._gone.values()), {}
        return taken

    @property
    def state(self) -> str:
        """For the operator: "ready", or what is wrong."""
        waits = f"; {len(self._behind)} writes wait" if len(self._behind) else ""
        refused = f"; {self.stats.refused} writes were refused: {self._refusal}" if self.stats.refused else ""
        return self._link.state + waits + refused

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
            "dropped": self._behind.dropped + self._uses.lost + self._shelves.never_told,
            "refused": stats.refused,
            "broken": stats.broken + self._catalog.broken,
            "lost": stats.lost,
        }

    async def close(self) -> None:
        """Write what waits, if Redis is there."""
        await self._uses.close()
        if self._flushing is not None:
            await asyncio.wait([self._flushing], timeout=0 if self._link.is_away else FLUSH_AT_END_S)
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        if len(self._behind):
            log.warning("%d writes that waited for redis are lost", len(self._behind))

    # -- how it is done ------------------------------------------------------------------------------------------------

    async def _named(self, scope: bytes, entry_id: str, tenant: str) -> Entry | None:
        reply, shelf = await self._follow_id(scripts.BY_ID, scope, entry_id, tenant)
        return None if reply is None else await self._read(shelf, *reply)

    async def _follow_id(self, script: Script, scope: bytes, entry_id: str, *args: Value) -> tuple[Any, int]:
        name = _raw(entry_id)
        links = (name + b"@" + scope,) if scope else (name,)
        return await self._shelves.follow(script, self._names.shelf_of_id(entry_id), links, scope, name, *args)

    async def _read(
        self, shelf: int, member: bytes, card: bytes, body: bytes | None, vector: bytes | None
    ) -> Entry | None:
        """What lies there, if it is ours, whole, and not gone; what is not is deleted."""
        try:
            known = self._cards.read_card(member, card)
            if not known.is_fresh(self._horizon_s()):
                return None
            if body is None or (known.has_vector and vector is None):
                self.stats.lost += 1
                await self._drop(shelf, member, "out")
                return None
            return self._visible(self._cards.read(known, body, vector))
        except Broken as broken:
            log.error("an entry in redis cannot be read, deleting it: %s", broken)
            self.stats.broken += 1
            await self._drop(shelf, member, "")
            return None

    async def _drop(self, shelf: int, member: bytes, kind: str) -> None:
        (told,) = await self._shelves.run(scripts.DROP, shelf, kind, member, b"")
        await self._shelves.tell(told)

    def _visible(self, entry: Entry) -> Entry | None:
        return None if not entry.is_fresh(self._horizon_s()) or self._behind.hides(entry) else entry

    def _weighed(self, entry: Entry) -> int:
        size = self._cards.pack(entry).size_bytes
        for whose, budget in (("the whole", self._shelf_bytes), ("a tenant's", self._tenant_bytes)):
            if budget and size > budget:
                raise CacheError(f"entry {entry.id} has {size} bytes, a shelf of {whose} budget {budget}")
        return size

    async def _put(self, entry: Entry, *, is_late: bool) -> None:
        """Keep `entry`; when it comes late a later answer stays."""
        names, packed = self._names, self._cards.pack(entry)
        door = names.shelf_of(entry.exact)
        home = door if entry.alias_of is None else names.shelf_of_id(entry.alias_of)
        ttl_ms = self._ttl_ms(entry.expires_s)
        draw = self._draws.expovariate(1.0) if self._policy == "random" else 0.0
        args: tuple[Value, ...] = (
            packed.member, packed.card, packed.body, packed.vector, ttl_ms, self._now(), self._horizon_s(),
            self._policy, self._popularity.add(entry.exact), draw, self._shelf_bytes, self._tenant_bytes, int(is_late),
        )  # fmt: skip
        reply = await self._with_room(home, packed.size_bytes, args)
        if (there := linked(reply)) is not None:
            home, reply = there, await self._with_room(there, packed.size_bytes, args)
        if reply[0] != b"kept":
            return
        _, former, expired, evicted, told = reply
        self._note(expired, evicted, told)
        await self._shelves.tell(told)
        self.stats.puts += 1
        if former is not None and former != home:
            await self._shelves.run(scripts.DROP, former, "", packed.member, b"")
        if home != door:
            await self._say_where(door, packed.member, entry, home, ttl_ms)
        if names.shelf_of_id(entry.id) not in (home, door):
            await self._say_where(names.shelf_of_id(entry.id), b"", entry, home, ttl_ms)

    async def _with_room(self, shelf: int, size: int, args: Sequence[Value]) -> Any:
        """Put; a server that has no room for it gets some, more each time."""
        wanted = max(ROOM_FOR * size, self._shelf_bytes // 20)
        for attempt in range(ROOM_ATTEMPTS):
            try:
                return await self._shelves.run(scripts.PUT, shelf, *args)
            except Refused as refused:
                if refused.code != "OOM":
                    raise
            evicted, told = await self._shelves.run(scripts.SHRINK, shelf, wanted << attempt, self._policy)
            self._note(0, evicted, told)
            await self._shelves.tell(told)
        return await self._shelves.run(scripts.PUT, shelf, *args)

    async def _say_where(self, shelf: int, member: bytes, entry: Entry, home: int, ttl_ms: int) -> None:
        """What is looked for on this shelf lies on another one."""
        name = _raw(entry.id)
        before, told = await self._shelves.run(scripts.LINK, shelf, member, name, entry.scope, home, ttl_ms)
        await self._shelves.tell(told)
        if before is None or before == home:
            return
        if member:
            await self._shelves.run(scripts.DROP, before, "", member, b"")
        else:  # the name was another request's
            reply = await self._shelves.run(scripts.REMOVE, before, entry.scope, name)
            await self._shelves.tell(reply[1] if linked(reply) is None else None)

    async def _remove(self, scope: bytes, entry_id: str) -> bool:
        shelf, name = self._names.shelf_of_id(entry_id), _raw(entry_id)
        reply = await self._shelves.run(scripts.REMOVE, shelf, scope, name)
        if (there := linked(reply)) is not None:
            reply = await self._shelves.run(scripts.REMOVE, there, scope, name)
        if linked(reply) is not None:
            return False
        was_here, told = reply
        await self._shelves.tell(told)
        return bool(was_here)

    async def _set_vector(self, write: Vector) -> bool:
        row, embedder = write.row, write.embedder
        reply, _ = await self._follow_id(
            scripts.VECTOR, row.scope, row.id, self._cards.asks(row.question), embedder,
            self._cards.vector(row.scope, row.id, embedder, write.vector), len(write.vector), self._horizon_s(),
            self._policy, self._shelf_bytes, self._tenant_bytes,
        )  # fmt: skip
        if reply is None:
            return False
        is_set, expired, evicted, told = reply
        self._note(expired, evicted, told)
        await self._shelves.tell(told)
        return bool(is_set)

    async def _write_uses(self, hits: Mapping[str, int], ends: Ends) -> None:
        by_shelf: dict[int, list[Value]] = {}
        for entry_id, n in hits.items():
            by_shelf.setdefault(self._names.shelf_of_id(entry_id), []).extend((_raw(entry_id), n, 0))
        await self._count_hits(by_shelf)
        calls = []
        for (scope, entry_id), expires_s in ends.items():
            _, mark = self._cards.end(scope, entry_id, expires_s)
            args = (scope, _raw(entry_id), expires_s, mark, max(1, self._ttl_ms(expires_s)))
            calls.append((self._names.shelf_of_id(entry_id), args))
        await self._prolong(calls)

    async def _prolong(self, calls: Sequence[tuple[int, Sequence[Value]]], *, is_last: bool = False) -> None:
        replies = await self._shelves.run_all(scripts.PROLONG, calls) if calls else []
        again = []
        for (_, args), reply in zip(calls, replies, strict=True):
            if (there := linked(reply)) is not None:
                again.append((there, args))
            elif reply is not None:
                await self._shelves.tell(reply[1])
        if again and not is_last:
            await self._prolong(again, is_last=True)

    async def _count_hits(self, by_shelf: Mapping[int, list[Value]], *, is_last: bool = False) -> None:
        calls = [
            (shelf, (self._now(), self._policy, self._tenant_bytes, *triples)) for shelf, triples in by_shelf.items()
        ]
        replies = await self._shelves.run_all(scripts.USED, calls) if calls else []
        again: dict[int, list[Value]] = {}
        for (_, args), links in zip(calls, replies, strict=True):
            used = {args[at]: args[at + 1] for at in range(3, len(args), 3)}
            for name, there in links:
                again.setdefault(there, []).extend((name, used[name], 0))
        if again and not is_last:
            await self._count_hits(again, is_last=True)

    def _note(self, expired: int, evicted: int, told: Told) -> None:
        self.stats.expired += expired
        self.stats.evicted += evicted
        for kind, scope, _, _, name in told:
            if kind == b"put":
                self._gone.pop((scope, name.decode("utf-8", "surrogatepass")), None)
        for gone in gone_of([event for event in told if event[0] == b"out"]):
            if len(self._gone) < MAX_GONE:
                self._gone[gone.scope, gone.id] = gone

    def _ttl_ms(self, expires_s: float | None) -> int:
        """How long Redis keeps it from now; 0: for ever."""
        if expires_s is None:
            return 0
        return max(1, int(1000 * (expires_s - self._now() + self._keep_stale_s + GRACE_S)))

    def _horizon_s(self) -> float:
        """What ended before this moment is gone."""
        return self._now() - self._keep_stale_s

    # -- while Redis is away -------------------------------------------------------------------------------------------

    def _wait(self, write: Put | Vector) -> None:
        if not self._behind.add(write):
            raise CacheError(f"redis is away, and {len(self._behind)} writes wait for it already")
        self.stats.waited += 1
        self._flush_soon()

    def _remove_later(self, selection: Selection) -> Away:
        self._behind.remove(selection, self._now())
        self._flush_soon()
        return Away("redis is away: what was to be removed is hidden here, and removed when it is back")

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
                    self.stats.refused += 1
                    self._refusal = str(result)
            self._behind.done(num_done)
            if num_done < len(results):
                await asyncio.sleep(FLUSH_EVERY_S)

    async def _do(self, write: Write) -> None:
        match write:
            case Put(entry):
                await self._put(entry, is_late=True)
            case Vector():
                await self._set_vector(write)
            case Remove(selection):
                await self._catalog.remove_all(selection)


def _raw(entry_id: str) -> bytes:
    return entry_id.encode("utf-8", "surrogatepass")
