"""Who generates, decided by a real Redis."""

import asyncio
from secrets import token_hex

import pytest

from gateway.answers.redis.connection import Link
from gateway.shared.flights.leases import Follow, Lead
from gateway.shared.flights.post import Post
from tests.gateway.house import SECRET
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


def posts(link: Link, lease_s: float = 60) -> tuple[Post, Post]:
    """Two replicas."""
    one, other = (Post(link, SECRET, replica=token_hex(8), lease_s=lease_s) for _ in range(2))
    return one, other


async def test_one_of_many_gets_the_lease(link: Link, server: RedisServer) -> None:
    patient = Link(server.url, SECRET, timeout_s=20)  # twenty connections at once, on a busy machine
    all_posts = [post for _ in range(10) for post in posts(patient)]
    claims = await asyncio.gather(*(post.claim("f", 0) for post in all_posts))
    await patient.close()

    assert sum(isinstance(claim, Lead) for claim in claims) == 1
    assert len({claim.token for claim in claims}) == 1


async def test_a_lease_that_lapsed_is_anothers_and_its_old_holder_hears_a_no(link: Link) -> None:
    old, new = posts(link, lease_s=0.03)
    first = await old.claim("f", 0)
    await asyncio.sleep(0.05)
    second = await new.claim("f", 0)

    assert isinstance(second, Lead)
    assert second.token > first.token
    assert not await old.renew("f", first.token)
    assert not await old.end("f", first.token, has_answer=True)
    assert await new.end("f", second.token, has_answer=True)


async def test_a_lease_is_held_by_renewing_it(link: Link) -> None:
    holder, other = posts(link, lease_s=0.1)
    token = (await holder.claim("f", 0)).token
    for _ in range(4):
        await asyncio.sleep(0.04)
        assert await holder.renew("f", token)

    claim = await other.claim("f", 0)
    assert isinstance(claim, Follow)
    assert (claim.token, claim.owner) == (token, holder.replica)


async def test_a_flight_that_was_given_up_is_free_at_once(link: Link) -> None:
    holder, other = posts(link)
    token = (await holder.claim("f", 0)).token
    await holder.end("f", token, has_answer=False)

    assert isinstance(await other.claim("f", 0.5), Lead)


async def test_who_asked_before_the_end_is_sent_to_who_has_the_answer(link: Link) -> None:
    holder, other = posts(link)
    token = (await holder.claim("f", 0)).token
    await holder.end("f", token, has_answer=True)

    assert await other.claim("f", 0.5) == Follow(token, holder.replica, 0.0)
    await asyncio.sleep(0.005)
    assert isinstance(await other.claim("f", 0), Lead)


async def test_tokens_grow_although_the_server_forgot_them(link: Link, server: RedisServer) -> None:
    holder, other = posts(link)
    before = await holder.claim("f", 0)
    await asyncio.sleep(0.002)
    server.client.flushall()
    after = await other.claim("f", 0)

    assert isinstance(after, Lead)
    assert after.token > before.token


async def test_a_server_that_forgot_a_lease_gives_it_back_to_its_holder(link: Link, server: RedisServer) -> None:
    holder, other = posts(link)
    token = (await holder.claim("f", 0)).token
    server.client.flushall()

    assert await holder.renew("f", token)
    assert isinstance(await other.claim("f", 0), Follow)


@pytest.mark.parametrize("far", ["until", "ended"])
async def test_a_lease_is_not_believed_to_last_for_longer_than_a_lease(
    link: Link, server: RedisServer, far: str
) -> None:
    dead, other = posts(link, lease_s=0.05)
    first = await dead.claim("f", 0)
    server.client.hset(link.name("lease", "f"), far, str(2**50))  # another clock, or somebody else
    claim = await other.claim("f", 0)
    if isinstance(claim, Follow):
        assert claim.lapses_s <= 0.05
    await asyncio.sleep(0.06)
    claim = await other.claim("f", 0)

    assert isinstance(claim, Lead)
    assert claim.token > first.token


@pytest.mark.parametrize("token", ["zzz", "9" * 30, "-1", "1.5", "inf"])
async def test_a_lease_whose_token_is_none_is_free(link: Link, server: RedisServer, token: str) -> None:
    post, _ = posts(link)
    await post.claim("f", 0)
    server.client.hset(link.name("lease", "f"), "token", token)

    assert isinstance(await post.claim("f", 0), Lead)


async def test_letters_of_strangers_are_counted_and_not_read(link: Link, server: RedisServer) -> None:
    post, _ = posts(link)
    box = link.name("post", post.replica)
    server.client.rpush(box, b"x" * 80)

    assert await post.receive() == []
    assert post.num_foreign == 1
