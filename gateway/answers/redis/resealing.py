"""Entries in Redis that another key sealed, or none, are put again under the one in use: once, by one gateway or more.

    <prefix>:seal     name of the key that all entries were under when this was last done

Gateways that share a Redis share the key. Vectors that were searched in Redis are deleted: sealed, nobody can search
them. What ends by itself is left to: letters (seconds), responses (an hour), the log of removals and the feed.
"""

import asyncio
import logging
from contextlib import aclosing
from typing import Protocol

from gateway.answers.base import CacheError, Entry, Tally, Verdict
from gateway.answers.redis.card import Card
from gateway.answers.redis.catalog import Catalog
from gateway.answers.redis.connection import Link

log = logging.getLogger(__name__)

SCAN_COUNT = 500


class Store(Protocol):
    async def peek(self, scope: bytes, exact: bytes) -> Entry | None: ...

    async def put_again(self, entry: Entry) -> None: ...

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]: ...

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None: ...


class Resealing:
    """One store's part in it. Belongs to one event loop."""

    def __init__(self, link: Link, catalog: Catalog, store: Store) -> None:
        self._link = link
        self._catalog = catalog
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Begin, if there is anything to do. Raises `CacheError`."""
        self._is_closed = False
        done = await self._link.call("GET", self._link.name("seal")) or b""
        if done != self._link.seal.name.encode() and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def wait(self) -> None:
        """Until nothing is left to do."""
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Stop between two entries: a word with Redis is not broken off."""
        self._is_closed = True
        await self.wait()

    async def _run(self) -> None:
        try:
            count = await self._reseal()
        except CacheError as error:  # the next start goes on
            log.warning("not everything in redis is sealed yet: %s", error)
            return
        if count:
            log.info("%d answers in redis are %s now", count, "sealed" if self._link.seal.name else "kept in plain")

    async def _reseal(self) -> int:
        key, count = self._link.seal.name, 0
        async with aclosing(self._catalog.cards()) as cards:
            async for card in cards:
                if self._is_closed:
                    return count
                count += card.seal != key and await self._again(card)
        if key:
            await _drop_searched(self._link)
        await self._link.call("SET", self._link.name("seal"), key)
        return count

    async def _again(self, card: Card) -> bool:
        entry = await self._store.peek(card.scope, card.exact)
        if entry is None:
            return False
        said = await self._store.verdicts(entry.scope, entry.id)
        await self._store.put_again(entry)
        for verdict in said:
            await self._store.judge(entry, verdict)
        return True


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
