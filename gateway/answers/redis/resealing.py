"""Entries in Redis that another key sealed, or none, are put again under the one in use: once, by one gateway or more.

    <prefix>:seal     name of the key that all entries were under when this was last done

Gateways that share a Redis share the key. Vectors that were searched in Redis are deleted: sealed, nobody can search
them. What ends by itself is left to: letters (seconds), responses (an hour), the log of removals and the feed.
"""

import logging
from typing import Protocol

from gateway.answers.base import CacheError, Entry, Tally, Verdict
from gateway.answers.redis.catalog import Catalog
from gateway.answers.redis.connection import Link

log = logging.getLogger(__name__)

SCAN_COUNT = 500


class Store(Protocol):
    async def peek(self, scope: bytes, exact: bytes) -> Entry | None: ...

    async def put_again(self, entry: Entry) -> None: ...

    async def verdicts(self, scope: bytes, entry_id: str) -> list[Verdict]: ...

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None: ...


async def reseal(link: Link, catalog: Catalog, store: Store) -> int:
    """Put everything under the key in use; how many entries that were. Raises `CacheError`."""
    name, key = link.name("seal"), link.seal.name
    done = ((await link.call("GET", name)) or b"").decode("ascii", "replace")
    if done == key:
        return 0
    count = 0
    async for card in catalog.cards():
        if card.seal == key:
            continue
        entry = await store.peek(card.scope, card.exact)
        if entry is None:
            continue
        said = await store.verdicts(entry.scope, entry.id)
        await store.put_again(entry)
        for verdict in said:
            await store.judge(entry, verdict)
        count += 1
    if key:
        await _drop_searched(link)
    await link.call("SET", name, key)
    if count:
        log.info("%d answers in redis are %s now", count, "sealed" if key else "kept in plain")
    return count


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
