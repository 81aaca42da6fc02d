"""Whether the other replicas have heard: who removed something asks, and each answers when it is as far.

    pulse    every replica, once in a while: I am here                           zset of names by the server's clock
    ask      through the feed, behind what it is about
    answer   of each replica, once it has applied everything before the question    a list of the question's own

So a removal has reached every memory when it returns, or says how many replicas did not answer in time. Who has just
come, or come back, or whose Redis has just lost its data, does not know yet who else there is, and says so.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable

from gateway.answers.redis.connection import Link, Script
from gateway.curation.invalidate import Heard
from gateway.shared.feed import ASK

PULSE_S = 2.0
SILENT_S = 3 * PULSE_S  # who was silent for longer is not waited for
GATHERING_S = 1.5 * PULSE_S  # after this replica was missing among those who are here: then all have pulsed
PATIENCE_S = 0.5
KEEP_S = 10
ASK_AT_ONCE = 4  # of the connections that may wait, `connection.MOST_WAITING`; the feed and the letters have theirs

_NOW = "local time = redis.call('TIME') local now = tonumber(time[1]) + tonumber(time[2]) / 1e6 "
_PULSE = Script(
    _NOW + "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2])) "
    "return redis.call('ZADD', KEYS[1], now, ARGV[1])"
)
_OTHERS = Script(
    _NOW
    + "local there = redis.call('ZRANGEBYSCORE', KEYS[1], now - tonumber(ARGV[2]), '+inf') local count, own = 0, 0 "
    "for _, name in ipairs(there) do if name ~= ARGV[1] then count = count + 1 else own = 1 end end return {count, own}"
)


class Echo:
    """One replica's side of it. Raises `CacheError`."""

    def __init__(
        self,
        link: Link,
        replica: bytes,
        *,
        gathering_s: float = GATHERING_S,
        also: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`also` is done with every pulse."""
        self._link = link
        self._replica = replica
        self._gathering_s = gathering_s
        self._also = also
        self._pulse_s = -math.inf
        self._turns = asyncio.Semaphore(ASK_AT_ONCE)
        self._knows_s = math.inf  # when all others are known

    async def pulse(self) -> None:
        """Say that this replica is here, when it is time."""
        now_s = time.monotonic()
        if now_s > self._pulse_s:
            self._pulse_s = now_s + PULSE_S
            if await self._link.run(_PULSE, self._link.name("replicas"), self._replica, SILENT_S):
                self._knows_s = now_s + self._gathering_s
            if self._also is not None:
                await self._also()

    async def answer(self, question: str) -> None:
        """Say that all before the question is applied."""
        name = self._answers(question)
        await self._link.together([("RPUSH", name, self._replica), ("EXPIRE", name, KEEP_S)])

    async def ask(self, patience_s: float = PATIENCE_S) -> Heard:
        """Wait until all other replicas have applied what is in the feed by now, or for `patience_s`."""
        others, is_here = await self._link.run(_OTHERS, self._link.name("replicas"), self._replica, SILENT_S)
        known = int(others) if is_here and time.monotonic() >= self._knows_s else None
        if not others:
            return Heard(known, 0)
        question, heard = secrets.token_hex(8), 0
        await self._link.call("XADD", self._link.names.feed, "*", "k", ASK, "r", self._replica, "i", question)
        name = self._answers(question)
        async with self._turns:  # answers gather meanwhile; the feed needs a connection, too
            until_s = time.monotonic() + patience_s
            while heard < others and (left_s := until_s - time.monotonic()) > 0:
                heard += await self._link.wait("BLPOP", name, max(0.01, round(left_s, 3)), wait_s=left_s) is not None
        return Heard(known, heard)

    def _answers(self, question: str) -> bytes:
        return self._link.name("echo", question)
