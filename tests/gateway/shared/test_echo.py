"""Asking the other replicas of a real Redis whether they have heard."""

import asyncio

from gateway.answers.redis.connection import Link
from gateway.curation.invalidate import Heard
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.shared.echo import Echo
from gateway.shared.follower import Follower
from gateway.shared.stream import RedisFeed
from tests.gateway.shared.servers import tell
from tests.gateway.shared.test_follower import Noted, eventually
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


def follower_of(link: Link, near: Noted, name: bytes) -> Follower:
    return Follower(RedisFeed(link, name), near, name, Ledger(Metrics()), echo=Echo(link, name), wait_s=0.1)


async def test_who_has_just_come_does_not_know_how_many_others_there_are(link: Link, server: RedisServer) -> None:
    mine, other = Echo(link, b"me"), Echo(link, b"other")
    assert await mine.ask(patience_s=0.01) == Heard(None, 0)  # it does not follow the feed
    await mine.pulse()
    assert await mine.ask(patience_s=0.01) == Heard(None, 0)
    await other.pulse()
    assert await mine.ask(patience_s=0.01) == Heard(None, 0)
    assert not Heard(None, 0).is_everybody

    at_once = Echo(link, b"mine", gathering_s=0.0)
    await at_once.pulse()
    assert await at_once.ask(patience_s=0.01) == Heard(2, 0)
    server.client.flushall()
    assert await at_once.ask(patience_s=0.01) == Heard(None, 0)


async def test_who_asks_hears_when_everybody_has_applied_what_came_before(link: Link) -> None:
    mine, near, far = Echo(link, b"me", gathering_s=0.0), Noted(), Noted()
    await mine.pulse()  # oneself is nobody to wait for
    assert await mine.ask() == Heard(0, 0)
    followers = [follower_of(link, one, name) for one, name in ((near, b"near"), (far, b"far"))]
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    await eventually(lambda: all(follower.is_following for follower in followers))
    await eventually(lambda: all(one.said for one in (near, far)))

    await tell(link, "gone", "a", replica=b"me")
    assert await mine.ask() == Heard(2, 2)
    assert (near.said[-1], far.said[-1]) == ("a", "a")
    far.may_go_on.clear()
    await tell(link, "gone", "b", replica=b"me")
    assert await mine.ask(patience_s=0.1) == Heard(2, 1)
    assert not Heard(2, 1).is_everybody
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
