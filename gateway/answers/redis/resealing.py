"""Entries in Redis that another key sealed, or none, are put under the one in use where they lie: by one gateway or
more. What is removed or replaced in that moment stays so, and nobody's memory hears of it: they say the same.

    <prefix>:seal       name of the key that all entries were put under, a space, and when that was begun
    <prefix>:seal:by    under which name gateways wrote when, as of every few minutes ("-": in plain)

Gateways that share a Redis share the key. While they are given another, one that still runs as before goes on writing
as before: so what was done while one did is done again, by whoever starts or looks. Times are those of Redis. Where
something does not open nothing is noted: the next start looks again. Vectors that were searched in Redis are deleted:
sealed, nobody can search them. What ends by itself is left to: letters (seconds), responses (an hour), the log of
removals and the feed.
"""

import asyncio
import logging
from contextlib import aclosing, suppress

from gateway.answers.base import CacheError
from gateway.answers.redis import scripts
from gateway.answers.redis.card import Broken
from gateway.answers.redis.catalog import Catalog, Row
from gateway.answers.redis.connection import Link, pairs
from gateway.answers.redis.writer import Writer

log = logging.getLogger(__name__)

SCAN_COUNT = 500
MARGIN = 2  # looks: one that was stopped wrote until its next look, at most, and a word may take a while
LOOK_S = 300.0  # between two words of a gateway that it writes under a name, and two looks at the others'


class Resealing:
    """One store's part in it. Belongs to one event loop."""

    def __init__(self, link: Link, catalog: Catalog, writer: Writer, look_s: float = LOOK_S) -> None:
        self._link = link
        self._catalog = catalog
        self._writer = writer
        self._look_s = look_s
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._unopened = 0  # of those whose card opens
        self._tried = ""  # as what is noted; by this gateway, also where something did not open

    async def open(self) -> None:
        """Begin, if there is anything to do. Raises `CacheError`."""
        self._closing.clear()
        self._tried = ""
        await self._look()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())

    async def wait(self) -> None:
        """Until nothing is left to do."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Stop between two entries: a word with Redis is not broken off."""
        self._closing.set()
        if self._looking is not None:
            await self._looking
        await self.wait()

    async def _look_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._look_s)
            if self._closing.is_set():
                return
            with suppress(CacheError):  # Redis is away: the next time
                await self._look()

    async def _look(self) -> None:
        """Say under which name this gateway writes, and begin where others did otherwise since all was done."""
        name = self._link.seal.name
        now_s = await self._now_s()
        await self._link.call("HSET", self._link.name("seal", "by"), name or "-", str(now_s))
        if (self._task is None or self._task.done()) and not await self._is_done(name):
            self._task = asyncio.create_task(self._run(now_s))

    async def _is_done(self, name: str) -> bool:
        said = (await self._link.call("GET", self._link.name("seal")) or b"").decode()
        done_by, _, began = (self._tried or said).partition(" ")
        if done_by != name:
            return False
        others = await self._link.call("HGETALL", self._link.name("seal", "by"))
        wrote = [float(at) for other, at in pairs(others) if other.decode() != (name or "-")]
        return all(at + MARGIN * self._look_s < float(began or "inf") for at in wrote)

    async def _now_s(self) -> float:
        seconds, micros = await self._link.run(scripts.CLOCK, self._link.names.feed)
        return int(seconds) + int(micros) / 1e6

    async def _run(self, began_s: float) -> None:
        try:
            count = await self._reseal(began_s)
        except CacheError as error:  # the next look, or start, goes on
            log.warning("not everything in redis is sealed yet: %s", error)
            return
        if count:
            log.info("%d answers in redis are %s now", count, "sealed" if self._link.seal.name else "kept in plain")

    async def _reseal(self, began_s: float) -> int:
        key, count, before = self._link.seal.name, 0, self._catalog.closed
        self._unopened = 0
        async with aclosing(self._catalog.rows()) as rows:
            async for row in rows:
                if self._closing.is_set():
                    return count
                count += await self._again(row)
        if key:
            await _drop_searched(self._link)
        self._tried = f"{key} {began_s}"
        if lost := self._catalog.closed - before + self._unopened:
            log.warning("%d answers in redis are sealed under a key that is not given: they are not found", lost)
            return count
        await self._link.call("SET", self._link.name("seal"), self._tried)
        log.info("all answers in redis are %s", f"under the key {key}" if key else "in plain")
        return count

    async def _again(self, row: Row) -> bool:
        card = row.card
        if card.seal == self._link.seal.name and not (card.good or card.bad):  # whose comments may be otherwise
            return False
        try:
            return await self._writer.reseal(card, row.shelf)
        except Broken as broken:  # whoever reads it deletes it, unless its key may come back
            self._unopened += broken.is_foreign
            return False


async def _drop_searched(link: Link) -> None:
    if link.is_cluster:
        log.warning(
            "vectors that were searched in redis, %s, stay for 30 days: delete them", link.name("near").decode()
        )
        return
    cursor: bytes | str = "0"
    while True:
        cursor, names = await link.call("SCAN", cursor, "MATCH", link.name("near") + b":*", "COUNT", SCAN_COUNT)
        for reply in await link.together([["UNLINK", name] for name in names]) if names else ():
            if isinstance(reply, CacheError):
                raise reply
        if int(cursor) == 0:
            return
