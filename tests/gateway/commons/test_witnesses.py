"""One contract for the record of witnesses, in a file and in Redis."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from gateway.answers.redis.connection import Link
from gateway.commons.file import FileWitnesses
from gateway.commons.witnesses import Statement, Witnesses, witness_of
from gateway.shared.witnesses import RedisWitnesses
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

SECRET = b"s" * 32
SCOPE = b"c" * 32
REQUEST, OTHER = b"1" * 32, b"2" * 32
MOST = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@pytest.fixture(params=["file", pytest.param("redis", marks=needs_redis)])
async def witnesses(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Witnesses]:
    if request.param == "file":
        kept: Witnesses = FileWitnesses(tmp_path / "commons.db", most=MOST)
        await kept.open()
        yield kept
        await kept.close()
        return
    server: RedisServer = request.getfixturevalue("server")
    server.client.flushall()
    link = Link(server.url, SECRET)
    yield RedisWitnesses(link, most=MOST)
    await link.close()


def said_by(tenant: str, request: bytes = REQUEST, least: int = 2) -> Statement:
    return Statement(SCOPE, request, witness_of(SECRET, request, tenant), least)


async def test_every_tenant_counts_once_for_each_request(witnesses: Witnesses) -> None:
    counts = [(await witnesses.note(said_by(tenant))).count for tenant in "aabba"]

    assert counts == [1, 1, 2, 2, 2]
    assert (await witnesses.note(said_by("a", OTHER))).count == 1
    assert await witnesses.size() == 3


async def test_who_objects_vouches_for_nothing_until_it_takes_that_back(witnesses: Witnesses) -> None:
    one = said_by("a")
    await witnesses.note(one)
    await witnesses.note(said_by("b"))
    await witnesses.object(one, objects=True)
    again = await witnesses.note(one)

    assert (again.count, again.objects) == (1, True)
    assert (await witnesses.heard(REQUEST, one.witness)).objects
    await witnesses.object(one, objects=False)
    assert not (await witnesses.heard(REQUEST, one.witness)).objects
    assert (await witnesses.note(one)).count == 2


async def test_a_tenant_is_forgotten_with_what_had_just_enough_witnesses(witnesses: Witnesses) -> None:
    for tenant in "ab":
        await witnesses.note(said_by(tenant))
    for tenant in "abc":
        await witnesses.note(said_by(tenant, OTHER))
    gone = await witnesses.forget(SECRET, "a")

    assert (gone.count, gone.too_few) == (2, [(SCOPE, REQUEST)])
    assert await witnesses.size() == 3
    assert (await witnesses.forget(SECRET, "a")).count == 0


async def test_what_has_fewer_witnesses_than_it_takes_ends_with_any_of_them(witnesses: Witnesses) -> None:
    """A full record lets any of them go."""
    await witnesses.note(said_by("a", least=3))
    gone = await witnesses.forget(SECRET, "a")

    assert gone.too_few == [(SCOPE, REQUEST)]


async def test_the_record_is_bounded(witnesses: Witnesses) -> None:
    for number in range(8 * MOST):
        await witnesses.note(said_by("a", number.to_bytes(2, "little") * 16))

    assert await witnesses.size() <= 3 * MOST


async def test_a_record_names_nobody_and_links_no_two_requests() -> None:
    one, other = witness_of(SECRET, REQUEST, "tenant"), witness_of(SECRET, OTHER, "tenant")

    assert one != other
    assert one != witness_of(b"x" * 32, REQUEST, "tenant")


@needs_redis
async def test_who_writes_to_redis_cannot_make_witnesses(server: RedisServer) -> None:
    server.client.flushall()
    link = Link(server.url, SECRET)
    kept = RedisWitnesses(link)
    await kept.note(said_by("a"))
    (name,) = cast("list[bytes]", server.client.keys("*commons*"))
    (member,) = cast("list[bytes]", server.client.zrange(name, 0, -1))
    forged = [member[:32] + bytes([n]) * 16 + member[48:] for n in range(20)]
    server.client.zadd(name, dict.fromkeys([*forged, b"x", member[:40]], 0))
    heard = await kept.note(said_by("b"))
    await link.close()

    assert heard.count == 2
