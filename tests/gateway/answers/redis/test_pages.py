"""A shelf of many pages is gone through from end to end, either way."""

import asyncio
from dataclasses import replace

from gateway.answers.base import Entry
from gateway.answers.redis.catalog import PAGE_ROWS
from gateway.answers.redis.keys import Names
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Page, Selection
from tests.contracts.answers_contract import digest, entry_of
from tests.gateway.answers.redis.conftest import SECRET
from tests.kvtier.tiers.servers import needs_redis

pytestmark = needs_redis

MOST_AT_ONE_MOMENT = 3


async def test_every_entry_of_a_shelf_of_many_pages_is_met_once(store: RedisAnswers) -> None:
    names, entries = Names(SECRET), list[Entry]()
    for number in range(100_000):
        exact = digest(f"{number}")
        if names.shelf_of(exact) == 0:
            made_s = 1_000_000.0 + len(entries) // MOST_AT_ONE_MOMENT
            entries.append(replace(entry_of(), id=names.id_of(exact), exact=exact, created_s=made_s))
        if len(entries) == 3 * PAGE_ROWS + 7:
            break
    for start in range(0, len(entries), PAGE_ROWS):
        await asyncio.gather(*(store.put(entry) for entry in entries[start : start + PAGE_ROWS]))

    up = [row.id async for row in store.unembedded("none")]
    down = [row.id for row in await store.select(Selection(), Page(len(entries) + 1))]
    assert sorted(up) == sorted(down) == sorted(entry.id for entry in entries)
    assert down == list(reversed(up))
