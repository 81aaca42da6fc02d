"""Gateways without HTTP on one Redis, each following the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.policy import Rules
from gateway.semantic.standalone.rules import ByRules
from gateway.shared.follower import Follower
from gateway.shared.near import NearStores
from gateway.shared.stream import RedisFeed
from gateway.shared.witnesses import RedisWitnesses
from tests.gateway.house import SECRET, House, house

RULES = Rules(shadow_rate=0.0, history="loose")


@dataclass(frozen=True)
class Replica:
    house: House
    follower: Follower
    link: Link
    store: RedisAnswers

    async def ask(self, text: str) -> str:
        """The tier, once all is written that is owed."""
        tier: str = (await self.house.chat(text))[0].tier
        await self.house.pipeline.close()
        return tier

    async def current(self) -> None:
        """When all that is in the feed by now is applied, and nothing is being read anew."""
        end = await RedisFeed(self.link, b"").end()
        async with asyncio.timeout(10):
            while self.follower.place != end or not self.follower.is_current:  # noqa: ASYNC110 - in another task
                await asyncio.sleep(0.005)


@asynccontextmanager
async def replica(folder: Path, url: str, name: str, rules: Rules = RULES) -> AsyncIterator[Replica]:
    folder = folder / name
    folder.mkdir()
    link = Link(url, SECRET, timeout_s=10)
    store = RedisAnswers(link, replica=name.encode(), budget_bytes=1 << 26)
    place = RedisFeed(link, name.encode())
    await place.end()
    kept = RedisWitnesses(link) if rules.share_tenants else None
    async with house(
        folder, rules=rules, reads_wordings=True, rewriter=ByRules(), store=store, witnesses=kept
    ) as gateway:
        near = NearStores(gateway.answers, store, gateway.semantic, rules, gateway.ledger)
        follower = Follower(place, near, name.encode(), gateway.ledger, wait_s=0.1)
        await follower.open()
        following = asyncio.create_task(follower.run())
        try:
            yield Replica(gateway, follower, link, store)
        finally:
            following.cancel()
            await asyncio.wait([following])
    await link.close()


@asynccontextmanager
async def two(folder: Path, url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replica(folder, url, "a") as a, replica(folder, url, "b") as b:
        yield a, b
