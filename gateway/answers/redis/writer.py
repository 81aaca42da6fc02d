"""Everything that changes an entry: scripts, the links that say where it lies, and what they made room for."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from gateway.answers.base import BAD_RETIRES, MAX_VERDICTS, CacheError, Entry, Gone, Tally, Verdict
from gateway.answers.memory import is_meant
from gateway.answers.popularity import Popularity
from gateway.answers.redis import scripts
from gateway.answers.redis.behind import Vector
from gateway.answers.redis.card import Card, Cards, Packed
from gateway.answers.redis.catalog import gone_of
from gateway.answers.redis.connection import Refused, Script, Value, pairs
from gateway.answers.redis.keys import SHELVES, Names
from gateway.answers.redis.places import Shelves, Told, linked, raw
from gateway.answers.redis.removals import Removals
from gateway.answers.tally import Ends

GRACE_S = 600.0  # Redis ends things so long after we would: what is accounted for goes first
ROOM_FOR = 32  # of what did not fit: as much is freed where Redis is full before our budget is
ROOM_ATTEMPTS = 3
MAX_GONE = 100_000  # entries let go that nobody has asked for yet


@dataclass(frozen=True, slots=True)
class Budget:
    """What answers may weigh, in all and per tenant, and what goes first. None: no limit."""

    all_bytes: int | None
    tenant_bytes: int | None = None
    policy: str = "cost"
    seed: int = 0


@dataclass(slots=True)
class RedisStats:
    """What the store did since the start."""

    puts: int = 0
    evicted: int = 0
    expired: int = 0
    broken: int = 0  # entries that could not be verified or read, and were deleted
    lost: int = 0  # entries whose body Redis let go before us
    refused: int = 0  # writes that waited, and that Redis refused then
    waited: int = 0  # writes that had to wait for Redis
    overtaken: int = 0  # answers that were not kept: what selects them was removed after they began to be made


class Writer:
    """Writes of one replica. Belongs to one event loop."""

    def __init__(
        self,
        shelves: Shelves,
        removals: Removals,
        cards: Cards,
        names: Names,
        budget: Budget,
        keep_stale_s: float,
        now: Callable[[], float],
    ) -> None:
        self.stats = RedisStats()
        self.gone: dict[tuple[bytes, str], Gone] = {}  # what was let go, for an index to forget
        self._shelves = shelves
        self._removals = removals
        self._cards = cards
        self._names = names
        self._policy = budget.policy
        self._shelf_bytes = 0 if budget.all_bytes is None else max(1, budget.all_bytes // SHELVES)
        self._tenant_bytes = 0 if budget.tenant_bytes is None else max(1, budget.tenant_bytes // SHELVES)
        self._popularity = Popularity(budget.all_bytes or 0)
        self._draws = Random(budget.seed)  # noqa: S311 (no secret)
        self._keep_stale_s = keep_stale_s
        self._now = now

    async def adopt(self) -> None:
        """Give what is kept priorities of our policy: another gateway may have had another."""
        await self._shelves.run_all(
            scripts.ADOPT, [(shelf, (self._policy, self._now())) for shelf in self._shelves.all]
        )

    def pack(self, entry: Entry) -> Packed:
        """`entry` as it is written. Raises `CacheError` when it cannot be spelled, or has no room."""
        packed = self._cards.pack(entry)
        for whose, budget in (("the whole", self._shelf_bytes), ("a tenant's", self._tenant_bytes)):
            if budget and packed.size_bytes > budget:
                raise CacheError(f"entry {entry.id} has {packed.size_bytes} bytes, a shelf of {whose} budget {budget}")
        return packed

    async def put(self, entry: Entry, packed: Packed, known: bytes, *, is_late: bool) -> bool:
        """Keep `entry`; False when something was removed after `known` that selects it. When it comes late a later
        answer stays."""
        names = self._names
        door = names.shelf_of(entry.exact)
        home = door if entry.alias_of is None else names.shelf_of_id(entry.alias_of)
        ttl_ms = self._ttl_ms(entry.expires_s)
        draw = self._draws.expovariate(1.0) if self._policy == "random" else 0.0
        args: tuple[Value, ...] = (
            packed.member, packed.card, packed.body, packed.vector, ttl_ms, self._now(), self._horizon_there_s(),
            self._policy, self._popularity.add(entry.exact), draw, self._shelf_bytes, self._tenant_bytes, int(is_late),
        )  # fmt: skip
        home, reply = await self._placed(home, packed, (*args, known))
        while reply[0] == b"missed":
            removed = await self._removals.since(known, reply[1])
            if removed is None or any(is_meant(selection, entry) for selection in removed):
                self.stats.overtaken += 1
                return False
            known = reply[1]
            home, reply = await self._placed(home, packed, (*args, known))
        if reply[0] != b"kept":
            return True
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
        return True

    async def _placed(self, home: int, packed: Packed, args: Sequence[Value]) -> tuple[int, Any]:
        reply = await self._with_room(home, packed.size_bytes, args)
        if (there := linked(reply)) is not None:
            return there, await self._with_room(there, packed.size_bytes, args)
        return home, reply

    async def reseal(self, card: Card, shelf: int) -> bool:
        """Put what lies there under the key in use, where it lies: nothing else of it changes, and what was removed or
        replaced meanwhile stays so. Whether there was anything to do. Raises `Broken`."""
        held = await self._shelves.run(scripts.GET, shelf, card.member)
        if held is None or linked(held) is not None:
            return False
        as_read, body, vector = held
        card, parts = self._cards.read_card(card.member, as_read), (b"", b"", b"")
        if card.seal != self._cards.seal.name:
            packed = self._cards.pack(self._cards.read(card, body or b"", vector))
            parts = packed.card, packed.body, packed.vector
        comments: list[Value] = []
        if card.good or card.bad:
            for source, said in pairs(await self._shelves.run(scripts.VERDICTS, shelf, card.scope, raw(card.id))):
                anew = said[:9] + self._cards.reseal_comment(said[9:], card.scope, card.id)
                comments += (source, said, anew) if anew != said else ()
        if not any(parts) and not comments:
            return False
        args = (card.member, as_read, *parts, *comments)
        return bool(await self._with_room(shelf, card.size_bytes, args, scripts.RESEAL))

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        """Forget the entry and its aliases; whether it was here."""
        shelf, name = self._names.shelf_of_id(entry_id), raw(entry_id)
        reply = await self._shelves.run(scripts.REMOVE, shelf, scope, name)
        if (there := linked(reply)) is not None:
            reply = await self._shelves.run(scripts.REMOVE, there, scope, name)
        if linked(reply) is not None:
            return False
        was_here, told = reply
        await self._shelves.tell(told)
        return bool(was_here)

    async def set_vector(self, write: Vector) -> bool:
        """Give an entry its vector; False when it is gone, or asks something else."""
        row, embedder = write.row, write.embedder
        reply, _ = await self._shelves.follow_id(
            scripts.VECTOR, row.scope, row.id, self._cards.asks(row.question), embedder,
            self._cards.vector(row.scope, row.id, embedder, write.vector), len(write.vector), self._horizon_there_s(),
            self._policy, self._shelf_bytes, self._tenant_bytes,
        )  # fmt: skip
        if reply is None:
            return False
        is_set, expired, evicted, told = reply
        self._note(expired, evicted, told)
        await self._shelves.tell(told)
        return bool(is_set)

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        """Write a verdict down; None when this very answer is gone."""
        member, made = self._names.member(entry.scope, entry.exact), struct.pack("<d", entry.created_s)
        comment = self._cards.seal_comment(verdict.comment, entry.scope, entry.id)
        said = ("1" if verdict.is_good else "0", comment, struct.pack("<d", verdict.at_s))
        asked: tuple[Value, ...] = (member, made, verdict.source, *said, MAX_VERDICTS, BAD_RETIRES)
        reply, _ = await self._shelves.follow(scripts.JUDGE, self._names.shelf_of(entry.exact), (member,), *asked)
        if reply is None:
            return None
        good, bad, told = reply
        await self._shelves.tell(told)
        return Tally(good, bad, tuple(gone_of(told)))

    async def drop(self, shelf: int, member: bytes, kind: str) -> None:
        """Delete what cannot be served."""
        (told,) = await self._shelves.run(scripts.DROP, shelf, kind, member, b"")
        await self._shelves.tell(told)

    def horizon_s(self) -> float:
        """What ended before this moment is gone."""
        return self._now() - self._keep_stale_s

    def _horizon_there_s(self) -> float:
        """The same moment by the clock of Redis."""
        return self.horizon_s() + self._cards.ahead_s

    async def write_uses(self, hits: Mapping[str, int], ends: Ends) -> None:
        """Note uses, and the ends that they moved."""
        by_shelf: dict[int, list[Value]] = {}
        for entry_id, n in hits.items():
            by_shelf.setdefault(self._names.shelf_of_id(entry_id), []).extend((raw(entry_id), n, 0))
        await self._count_hits(by_shelf)
        calls = []
        for (scope, entry_id), expires_s in ends.items():
            ends_there_s, mark = self._cards.end(scope, entry_id, expires_s)
            args = (scope, raw(entry_id), ends_there_s, mark, max(1, self._ttl_ms(expires_s)))
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

    async def _with_room(self, shelf: int, size: int, args: Sequence[Value], script: Script = scripts.PUT) -> Any:
        """Write; a server that has no room for it gets some, more each time."""
        wanted = max(ROOM_FOR * size, self._shelf_bytes // 20)
        for attempt in range(ROOM_ATTEMPTS):
            try:
                return await self._shelves.run(script, shelf, *args)
            except Refused as refused:
                if refused.code != "OOM":
                    raise
            evicted, told = await self._shelves.run(scripts.SHRINK, shelf, wanted << attempt, self._policy)
            self._note(0, evicted, told)
            await self._shelves.tell(told)
        return await self._shelves.run(script, shelf, *args)

    async def _say_where(self, shelf: int, member: bytes, entry: Entry, home: int, ttl_ms: int) -> None:
        """What is looked for on this shelf lies on another one."""
        name = raw(entry.id)
        before, told = await self._shelves.run(scripts.LINK, shelf, member, name, entry.scope, home, ttl_ms)
        await self._shelves.tell(told)
        if before is None or before == home:
            return
        if member:
            await self._shelves.run(scripts.DROP, before, "", member, b"")
        else:  # the name was another request's
            reply = await self._shelves.run(scripts.REMOVE, before, entry.scope, name)
            await self._shelves.tell(reply[1] if linked(reply) is None else None)

    async def free(self, num_bytes: int) -> None:
        """Let so much of every shelf go."""
        calls = [(shelf, (num_bytes, self._policy)) for shelf in self._shelves.all]
        for evicted, told in await self._shelves.run_all(scripts.SHRINK, calls):
            self._note(0, evicted, told)
            await self._shelves.tell(told)

    def _note(self, expired: int, evicted: int, told: Told) -> None:
        self.stats.expired += expired
        self.stats.evicted += evicted
        for kind, scope, _, _, name in told:
            if kind == b"put":
                self.gone.pop((scope, name.decode("utf-8", "surrogatepass")), None)
        for gone in gone_of([event for event in told if event[0] == b"out"]):
            if len(self.gone) < MAX_GONE:
                self.gone[gone.scope, gone.id] = gone

    def _ttl_ms(self, expires_s: float | None) -> int:
        """How long Redis keeps it from now; 0: for ever."""
        if expires_s is None:
            return 0
        return max(1, int(1000 * (expires_s - self._now() + self._keep_stale_s + GRACE_S)))
