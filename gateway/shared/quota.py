"""The accounts that gateways on one Redis share: what a tenant may have, it may have of all of them together.

One call when a request enters, of a script that decides as `gateway.quota.buckets.enter` does; what it used is told
behind its back, many at once. A gateway that dies gives nothing back, so what a request holds is a lease: it runs out
unless its gateway renews it. While Redis is away each gateway goes by what it last heard, and owes the rest.

A slow Redis may run what nobody waits for any more, and be told it again: settlements are numbered, and run once.

    twicetold:<8 hex>:quota:{tenant}:h:<subject>   hash   at, what is used of the minute, what is held, day, month
    twicetold:<8 hex>:quota:{tenant}:l:<subject>   zset   leases: "replica.number tokens money" -> when it runs out
    twicetold:<8 hex>:quota:{tenant}:s:<gateway>   zset   settlements that ran: all up to the least, and the others
"""

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Away, Link, Refused, Script
from gateway.quota.buckets import Account, Entry, Moment, Need, Sums, Window, enter
from gateway.settings.trust import Limits

LEASE_S = 90.0
RENEW_S = 30.0
LOOK_S = 10.0
TRY_AGAIN_S = 1.0
MOST_OWED = 100_000  # settlements that wait while Redis is away; the oldest are forgotten, and counted
AT_ONCE = 256
REMEMBERED_S = 86_400  # which settlements ran, after the last one: a retry that comes later is counted again

Subjects = Sequence[tuple[str, Limits]]

_FRESH = """
local now, day, month = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local FIELDS = {'at','rq','tk','ht','hm','d','dr','dh','dt','dm','m','mr','mh','mt','mm'}
local KEPT_S = 3456000
local function fresh(hash, leases, rpm, tpm)
  local got, s = redis.call('HMGET', hash, unpack(FIELDS)), {}
  for k, f in ipairs(FIELDS) do s[f] = tonumber(got[k] or 0) or 0 end
  local passed = math.max(0, now - s.at)
  if now < s.at - 60 then s.at = now else s.at = math.max(s.at, now) end
  s.rq = rpm and math.max(0, s.rq - passed * rpm / 60) or 0
  s.tk = tpm and math.max(0, s.tk - passed * tpm / 60) or 0
  if s.d ~= day and s.d ~= day + 1 then s.d, s.dr, s.dh, s.dt, s.dm = day, 0, 0, 0, 0 end
  if s.m ~= month and s.m ~= month + 1 then s.m, s.mr, s.mh, s.mt, s.mm = month, 0, 0, 0, 0 end
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
    local tokens, money = string.match(lease, ' (%S+) (%S+)$')
    s.ht = math.max(0, s.ht - (tonumber(tokens) or 0))
    s.hm = math.max(0, s.hm - (tonumber(money) or 0))
    redis.call('ZREM', leases, lease)
  end
  s.n = redis.call('ZCARD', leases)
  return s
end
local function told(s)
  local out = {tostring(s.n)}
  for _, f in ipairs(FIELDS) do out[#out + 1] = string.format('%.17g', s[f]) end
  return out
end
local function keep(hash, leases, s)
  local flat = {}
  for _, f in ipairs(FIELDS) do flat[#flat + 1] = f; flat[#flat + 1] = string.format('%.17g', s[f]) end
  redis.call('HSET', hash, unpack(flat))
  redis.call('EXPIRE', hash, KEPT_S)
  redis.call('EXPIRE', leases, KEPT_S)
end
"""

READ = Script(_FRESH + "return told(fresh(KEYS[1], KEYS[2], tonumber(ARGV[4]), tonumber(ARGV[5])))")

ENTER = Script(
    _FRESH
    + """
local tokens, money, lease, ends = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local states, before, hard, short, strict = {}, {}, false, false, false
for i = 1, #KEYS / 2 do
  local a = 7 + (i - 1) * 7
  local rpm, tpm, most, day_t, month_t, month_m = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]),
    tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
  local s = fresh(KEYS[2 * i - 1], KEYS[2 * i], rpm, tpm)
  states[i], before[i] = s, told(s)
  if (rpm and s.rq + 1 > rpm) or (most and s.n >= most) then hard = true end
  local lacks = (tpm and (tpm == 0 or s.tk + math.min(tokens, tpm) - tpm > 0)) or (day_t and s.dt + s.ht >= day_t)
    or (month_t and s.mt + s.ht >= month_t) or (month_m and s.mm + s.hm >= month_m)
  if lacks then
    short = true
    if ARGV[a + 7] == '1' then strict = true end
  end
end
hard = hard or strict
local held_t, held_m = short and 0 or tokens, short and 0 or money
for i, s in ipairs(states) do
  if not hard then
    s.rq, s.tk, s.ht, s.hm = s.rq + 1, s.tk + held_t, s.ht + held_t, s.hm + held_m
    redis.call('ZADD', KEYS[2 * i], ends, short and (lease .. ' 0 0.0') or (lease .. ' ' .. ARGV[4] .. ' ' .. ARGV[5]))
  end
  keep(KEYS[2 * i - 1], KEYS[2 * i], s)
end
return before
"""
)

# What ran is remembered until its gateway has heard so: `told` is the number up to which it has.
SETTLE = Script(
    _FRESH
    + """
local number, told_to = tonumber(ARGV[13]), tonumber(ARGV[14])
if number > 0 then
  local least = tonumber(redis.call('ZRANGE', KEYS[3], 0, 0)[1])
  if (least and number <= least) or redis.call('ZSCORE', KEYS[3], ARGV[13]) then return 0 end
  redis.call('ZADD', KEYS[3], ARGV[13], ARGV[13])
  if told_to > (least or -1) then
    redis.call('ZADD', KEYS[3], ARGV[14], ARGV[14])
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[14])
  end
  redis.call('EXPIRE', KEYS[3], ARGV[15])
end
local s = fresh(KEYS[1], KEYS[2], tonumber(ARGV[11]), tonumber(ARGV[12]))
local held_t, held_m = tonumber(ARGV[5]), tonumber(ARGV[6])
local requests, hits, tokens, money = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
if redis.call('ZREM', KEYS[2], ARGV[4]) == 1 then
  s.ht, s.hm, s.tk = math.max(0, s.ht - held_t), math.max(0, s.hm - held_m), s.tk - held_t
end
s.tk = math.max(0, s.tk + tokens)
s.dr, s.dh, s.dt, s.dm = s.dr + requests, s.dh + hits, s.dt + tokens, s.dm + money
s.mr, s.mh, s.mt, s.mm = s.mr + requests, s.mh + hits, s.mt + tokens, s.mm + money
keep(KEYS[1], KEYS[2], s)
return 1
"""
)


@dataclass(frozen=True, slots=True)
class _Owed:
    """What a request used of one subject."""

    keys: tuple[bytes, bytes, bytes]
    limits: Limits
    lease: str  # empty: it entered while Redis was away
    held: Need
    used: Sums
    moment: Moment
    number: int  # by which Redis knows it again; 0: it uses nothing, so it may run often

    def args(self, told_to: int) -> tuple[str | int | float, ...]:
        """As the script reads them; Redis has said of all up to `told_to` that they ran."""
        used, limits = self.used, self.limits
        minute = _said(limits.requests_per_minute), _said(limits.tokens_per_minute)
        sums = used.requests, used.hits, used.tokens, repr(used.money)
        once = self.number, told_to, REMEMBERED_S
        return *_when(self.moment), self.lease, self.held.tokens, repr(self.held.money), *sums, *minute, *once


class RedisAccounts:
    """One gateway's part in them. Belongs to one event loop."""

    def __init__(self, link: Link, replica: str, *, now: Callable[[], float] = time.time) -> None:
        self.num_dropped = 0
        self._link = link
        self._replica = replica
        self._now = now
        self._numbers = count(1)
        self._settlements = count(1)
        self._name = secrets.token_hex(8)  # a gateway that starts again counts from one again
        self._untold: OrderedDict[int, None] = OrderedDict()  # numbers of settlements, in order
        self._owed: deque[_Owed] = deque()
        self._doubtful: deque[_Owed] = deque(maxlen=MOST_OWED)
        self._news = asyncio.Event()
        self._out: dict[str, tuple[list[bytes], float]] = {}  # leases: where they lie, and until when

    async def enter(self, subjects: Subjects, need: Need, moment: Moment) -> tuple[list[Account], Entry, str]:
        """Ask to enter: how things stand, what came of it, and the lease. Raises `CacheError`."""
        lease = f"{self._replica}.{next(self._numbers)}"
        keys = [key for name, _ in subjects for key in self._keys(name)]
        limits = [limit for _, limit in subjects]
        asked = [word for limit in limits for word in _limits(limit)]
        held = need.tokens, repr(need.money)
        ends = moment.now_s + LEASE_S
        was_away = self._link.is_away
        try:
            found = await self._link.run(ENTER, keys, *_when(moment), *held, lease, repr(ends), *asked)
        except (Away, asyncio.CancelledError):
            if not was_away:  # it may have been sent
                self._abandon(subjects, lease, need, moment)
            raise
        after, entry = enter([_account(row) for row in found], limits, need, moment)
        if entry.refusal is not None:
            return after, entry, ""
        lease = _named(lease, need if entry.shortage is None else Need())
        self._out[lease] = keys[1::2], ends
        return after, entry, lease

    def settle(self, subjects: Subjects, lease: str, held: Need, used: Sums, moment: Moment) -> None:
        """A request has ended. It is told behind its back."""
        self._out.pop(lease, None)
        for name, limits in subjects:
            number = next(self._settlements)
            self._untold[number] = None
            self._owed.append(_Owed(self._settled(name), limits, lease, held, used, moment, number))
        while len(self._owed) > MOST_OWED:
            self._untold.pop(self._owed.popleft().number, None)
            self.num_dropped += 1
        self._news.set()

    def _abandon(self, subjects: Subjects, lease: str, need: Need, moment: Moment) -> None:
        """Nobody waits any more, and Redis may have heard it, or may yet: what it holds is given back now and later."""
        for held in (need, Need()):
            owed = [
                _Owed(self._settled(name), limits, _named(lease, held), held, Sums(), moment, number=0)
                for name, limits in subjects
            ]
            self._owed.extend(owed)
            self._doubtful.extend(owed)
        self._news.set()

    async def read(self, name: str, limits: Limits, moment: Moment) -> Account:
        """How things stand with one. Raises `CacheError`."""
        minute = _said(limits.requests_per_minute), _said(limits.tokens_per_minute)
        return _account(await self._link.run(READ, self._keys(name), *_when(moment), *minute))

    async def forget(self, names: Sequence[str]) -> None:
        """Let go of what is known of these. Raises `CacheError`."""
        for name in names:
            await self._link.call("DEL", *self._settled(name))

    async def tell(self) -> bool:
        """Tell what is owed; whether all of it is told. What Redis will not have is forgotten, and counted."""
        while self._owed:
            batch = [self._owed.popleft() for _ in range(min(AT_ONCE, len(self._owed)))]
            told_to = next(iter(self._untold), 1) - 1
            try:
                replies = await self._link.run_all([(SETTLE, one.keys, one.args(told_to)) for one in batch])
            except (CacheError, asyncio.CancelledError) as error:  # Redis may run it yet, or have run it
                self._owed.extendleft(reversed(batch))
                if isinstance(error, asyncio.CancelledError):
                    raise
                return False
            lost = [one for one, reply in zip(batch, replies, strict=True) if isinstance(reply, Away)]
            for number in {one.number for one in batch} - {one.number for one in lost}:
                self._untold.pop(number, None)
            self.num_dropped += sum(isinstance(reply, Refused) for reply in replies)
            if lost:
                self._owed.extendleft(reversed(lost))
                return False
        return True

    async def run(self) -> None:
        """Tell what is owed, and renew leases, for ever."""
        looked_s = self._now()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            self._news.clear()
            if abs(self._now() - looked_s) >= LOOK_S:
                looked_s = self._now()
                self._owed.extend(self._doubtful)
                self._doubtful.clear()
                with suppress(CacheError):
                    await self.renew()
            if not await self.tell():
                await asyncio.sleep(TRY_AGAIN_S)
                self._news.set()

    async def renew(self) -> None:
        """Hold on to what is still under way. Raises `CacheError`."""
        ends = self._now() + LEASE_S
        late = {lease: keys for lease, (keys, until) in self._out.items() if until < ends - RENEW_S}
        if late:
            await self._link.together(
                [("ZADD", key, "XX", repr(ends), lease) for lease, keys in late.items() for key in keys]
            )
            self._out |= {lease: (keys, ends) for lease, keys in late.items() if lease in self._out}

    def _keys(self, name: str) -> tuple[bytes, bytes]:
        tag = _tag(name)
        return self._link.name("quota", tag, "h", name), self._link.name("quota", tag, "l", name)

    def _settled(self, name: str) -> tuple[bytes, bytes, bytes]:
        """The keys of a subject, and what we settled of its tenant."""
        return *self._keys(name), self._link.name("quota", _tag(name), "s", self._name)


def _tag(name: str) -> str:
    """What all keys of a tenant have in common, so that one node of a cluster has them."""
    return "{" + name.partition("/")[0] + "}"


def _named(lease: str, held: Need) -> str:
    return f"{lease} {held.tokens} {held.money!r}"


def _when(moment: Moment) -> tuple[str, int, int]:
    return repr(moment.now_s), moment.day, moment.month


def _limits(limits: Limits) -> tuple[str, ...]:
    bounds = (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent,
        limits.tokens_per_day,
        limits.tokens_per_month,
        limits.money_per_month,
    )
    return *map(_said, bounds), "1" if limits.count_hits else "0"


def _said(value: float | None) -> str:
    return "" if value is None else repr(value)


def _account(row: Sequence[Any]) -> Account:
    running, at_s, requests, tokens, held_tokens, held_money, *sums = (float(value) for value in row)
    day, month = (_window(sums[at : at + 5]) for at in (0, 5))
    return Account(at_s, requests, tokens, int(running), Need(int(held_tokens), held_money), day, month)


def _window(row: Sequence[float]) -> Window:
    return Window(int(row[0]), Sums(int(row[1]), int(row[2]), int(row[3]), row[4]))
