"""Following the feed of a real Redis: nothing is skipped, and what cannot be known is read anew."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.shared.feed import News, Removed
from gateway.shared.follower import Follower
from gateway.shared.stream import RedisFeed
from tests.gateway.shared.servers import SECRET, tell
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


class Noted:
    """Holds nothing near, and writes down what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.failing = 0
        self.has_bug = False
        self.is_held = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def clear(self) -> None:
        self.said.append("clear")

    async def forget(self, removed: Sequence[Removed]) -> None:
        self.said += [str(one.place, "ascii") for one in removed]

    async def apply(self, news: Sequence[News]) -> None:
        self.is_held = bool(news)
        await self.may_go_on.wait()
        if news and self.failing:
            self.failing -= 1
            raise CacheError("the store is away")
        if news and self.has_bug:
            self.has_bug = False
            raise KeyError("a bug")
        self.said += [one.id for one in news]

    async def renew(self) -> None:
        self.said.append("renew")

    async def until(self, *said: str) -> None:
        await eventually(lambda: self.said == list(said), lambda: f"{self.said} is not {said}")


async def eventually(is_so: Callable[[], bool], why: Callable[[], str] = lambda: "not so") -> None:
    try:
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110 - it changes in another task
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(why()) from None


@asynccontextmanager
async def following(link: Link, near: Noted, *, opens: bool = True) -> AsyncIterator[Follower]:
    follower = Follower(RedisFeed(link, b"me"), near, b"me", Ledger(Metrics()), wait_s=0.1)
    if opens:
        await follower.open()
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_others_do_is_applied_in_order_and_what_we_did_is_not(link: Link) -> None:
    await tell(link, "put", "before")
    near = Noted()
    async with following(link, near) as follower:
        await tell(link, "put", "a", "b")
        await near.until("a", "b")  # what is put and gone in one read is only gone
        await tell(link, "put", "mine", replica=b"me")
        await tell(link, "gone", "a")
        await near.until("a", "b", "a")

    assert (follower.stats.events, follower.stats.own, follower.stats.lost) == (4, 1, 0)


async def test_what_could_not_be_applied_is_applied_again(link: Link) -> None:
    near = Noted()
    near.failing = 2
    async with following(link, near) as follower:
        await tell(link, "put", "a")
        await near.until("a")

    assert follower.stats.failures == 2


async def test_a_bug_makes_nobody_deaf(link: Link) -> None:
    near = Noted()
    near.has_bug = True
    async with following(link, near):
        await tell(link, "put", "a")
        await near.until("clear", "renew")
        await tell(link, "put", "b")
        await near.until("clear", "renew", "b")


async def test_a_server_that_was_cut_off_loses_nothing(server: RedisServer, link: Link) -> None:
    near = Noted()
    async with following(link, near) as follower:
        await tell(link, "put", "a")
        await near.until("a")
        await link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await tell(link, "put", "b")
        await near.until("a", "b")
        await eventually(lambda: follower.is_following)

    assert follower.stats.lost == 0


async def test_who_was_away_for_longer_than_the_stream_reaches_reads_everything_anew(link: Link) -> None:
    near = Noted()
    async with following(link, near) as follower:
        near.may_go_on.clear()
        await tell(link, "put", "a")
        await eventually(lambda: near.is_held)
        await tell(link, "put", "b", "c", "d", keep=2)
        near.may_go_on.set()
        await near.until("a", "clear", "renew")
        await tell(link, "put", "e")
        await near.until("a", "clear", "renew", "e")
        assert follower.is_current
        assert follower.stats.lost == 1


async def test_a_server_that_lost_its_data_is_noticed_with_and_without_new_events(link: Link) -> None:
    near = Noted()
    async with following(link, near):
        await tell(link, "put", "a")
        await near.until("a")
        await link.call("FLUSHALL")
        await near.until("a", "clear", "renew")
        await asyncio.sleep(0.01)  # ids are milliseconds: in the same one a new event could have our place's
        await link.together([("FLUSHALL",), ("XADD", link.names.feed, "*", "k", "here")])
        await near.until("a", "clear", "renew", "clear", "renew")


async def test_a_replica_that_starts_without_its_server_clears_and_renews_when_that_comes(server: RedisServer) -> None:
    server.kill()
    link = Link(server.url, SECRET, timeout_s=0.2)
    near = Noted()
    try:
        async with following(link, near, opens=False) as follower:
            await eventually(lambda: follower.stats.failures > 1)
            assert not follower.is_following
            server.start()
            await near.until("clear", "renew")
            await tell(link, "put", "a")
            await near.until("clear", "renew", "a")
    finally:
        await link.close()
