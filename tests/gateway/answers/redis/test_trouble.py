"""Redis killed, hung, full, a replica, locked, or used by somebody else: never an error but `CacheError`, and words."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions

from gateway.answers.base import CacheError, Entry
from gateway.answers.redis.connection import Away, Link, Refused, Script, understood
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Selection
from tests.contracts.answers_contract import Clock, digest, entry_of, lacking, said
from tests.gateway.answers.redis.conftest import PATIENCE_S, SECRET, store_of
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may end."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.client.close()
    server.kill()


@pytest.fixture
async def far(mortal: RedisServer, clock: Clock) -> AsyncIterator[RedisAnswers]:
    """A store on it with short timeouts."""
    link = Link(mortal.url, SECRET, timeout_s=0.2)
    store = store_of(link, clock)
    await store.open()
    yield store
    await store.close()
    await link.close()


async def until_flushed(store: RedisAnswers) -> None:
    for _ in range(1000):
        if not store.report()["waiting"]:
            return
        await asyncio.sleep(0.02)
    pytest.fail("writes go on waiting")


async def refused_as(work: Awaitable[Any]) -> CacheError:
    with pytest.raises(CacheError) as refused:
        await work
    return refused.value


async def test_what_is_written_while_redis_is_away_is_there_when_it_is_back(
    far: RedisAnswers, mortal: RedisServer
) -> None:
    mortal.kill()
    await far.put(entry_of("a"))
    await far.put(entry_of("b"))
    assert await far.set_vector(lacking(entry_of("a")), "mini@1", b"1234")
    with_vector = replace(entry_of("a"), embedder="mini@1", vector=b"1234")
    assert await far.get(digest("s"), digest("a")) == entry_of("a")
    assert "3 writes wait" in far.state
    assert far.state.startswith("away for")
    for work in (far.get(digest("s"), digest("c")), far.size(), far.judge(entry_of("a"), said("one"))):
        assert isinstance(await refused_as(work), Away)

    mortal.start()
    await until_flushed(far)
    assert await far.get(digest("s"), digest("a")) == with_vector
    assert await far.size() == 2
    assert far.state == "ready"


async def test_a_removal_while_redis_is_away_is_said_to_come_hides_at_once_and_comes(
    far: RedisAnswers, mortal: RedisServer, tmp_path: Path, clock: Clock
) -> None:
    for name in "ab":
        await far.put(entry_of(name))
    mortal.hang()  # it still has them
    clock.now_s += 1
    error = await refused_as(far.remove_all(Selection(id="e_a")))
    assert "removed when it is back" in str(error)
    mortal.go_on()

    await asyncio.sleep(0)
    with contextlib.suppress(Away):
        assert await far.get(digest("s"), digest("a")) is None  # before the queue is worked off, too
    await until_flushed(far)
    assert await far.get(digest("s"), digest("a")) is None
    assert await far.get(digest("s"), digest("b")) == entry_of("b")


async def test_a_full_queue_refuses_puts_and_says_so(mortal: RedisServer, clock: Clock) -> None:
    link = Link(mortal.url, SECRET, timeout_s=0.2)
    store = RedisAnswers(link, replica=b"a", budget_bytes=None, queue_bytes=2000, now=clock)
    mortal.kill()
    await store.put(entry_of("a"))

    assert "1 writes wait for it already" in str(await refused_as(store.put(entry_of("b"))))
    assert store.report()["dropped"] == 1
    await store.close()
    await link.close()


async def test_a_hung_server_costs_its_first_callers_a_timeout_and_the_others_nothing(
    far: RedisAnswers, mortal: RedisServer
) -> None:
    mortal.hang()
    assert isinstance(await refused_as(far.get(digest("s"), digest("a"))), Away)
    trips = far.report()["round_trips"]
    for _ in range(100):
        await refused_as(far.get(digest("s"), digest("a")))

    assert far.report()["round_trips"] <= trips + 2
    mortal.go_on()
    assert await found_at_last(far, "a") is None
    assert far.state == "ready"


async def test_cancelled_calls_leave_no_answer_behind_for_the_next(far: RedisAnswers, mortal: RedisServer) -> None:
    for name in "ab":
        await far.put(entry_of(name))
    mortal.hang()
    calls = [asyncio.create_task(far.get(digest("s"), digest("a"))) for _ in range(8)]
    await asyncio.sleep(0.02)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    mortal.go_on()

    assert await found_at_last(far, "b") == entry_of("b")
    assert far.report()["broken"] == 0


async def found_at_last(store: RedisAnswers, name: str) -> Entry | None:
    """What is there, as soon as the server can be had."""
    for _ in range(1000):
        with contextlib.suppress(Away):
            return await store.get(digest("s"), digest(name))
        await asyncio.sleep(0.02)
    pytest.fail("redis does not come back")


async def kept_of(store: RedisAnswers, names: Iterable[str]) -> AsyncIterator[str]:
    """The first that is kept: what else needs memory inside the server may take what was freed for one."""
    for name in names:
        with contextlib.suppress(Refused):
            await store.put(entry_of(name))
            yield name
            return


async def test_a_server_without_room_gets_some_of_ours_back(
    server: RedisServer, store: RedisAnswers, link: Link
) -> None:
    for number in range(300):
        await store.put(entry_of(f"{number}", text=random.Random(number).randbytes(1500).hex()))
    used = server.client.info("memory")["used_memory"]
    try:
        server.client.config_set("maxmemory", used)
        kept = [name async for name in kept_of(store, (f"new {number}" for number in range(100)))]
        assert store.stats.evicted > 0
        assert await store.get(digest("s"), digest(kept[0])) is not None

        server.client.config_set("maxmemory", 1)
        assert "maxmemory is reached" in str(await refused_as(store.put(entry_of("newer"))))
        assert await store.get(digest("s"), digest(kept[0])) is not None  # reading goes on
        assert await store.remove(digest("s"), f"e_{kept[0]}")  # and so does removing
    finally:
        server.client.config_set("maxmemory", 0)
    await store.put(entry_of("newer"))


@pytest.mark.parametrize("kind", ["one server", "cluster"])
async def test_an_operator_is_warned_of_a_server_that_takes_whatever_it_likes(
    kind: str,
    server: RedisServer,
    nodes: tuple[RedisServer, RedisServer],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    servers = [server] if kind == "one server" else list(nodes)
    link = Link(servers[0].url, SECRET, timeout_s=PATIENCE_S)
    for policy, maxmemory in (("allkeys-lru", 2**30), ("noeviction", 0)):
        for one in servers:
            one.client.config_set("maxmemory-policy", policy)
            one.client.config_set("maxmemory", maxmemory)
        caplog.clear()
        await store_of(link, clock).open()
        assert ("noeviction or volatile-lru is better" in caplog.text) == (policy == "allkeys-lru")
    await link.close()


async def test_a_replica_is_no_place_for_writes_until_it_is_a_primary(far: RedisAnswers, mortal: RedisServer) -> None:
    await far.put(entry_of("a"))
    mortal.ask("REPLICAOF", "127.0.0.1", 1)
    await far.put(entry_of("b"))
    assert "it is a replica and takes no writes" in far.state

    mortal.ask("REPLICAOF", "NO", "ONE")
    await until_flushed(far)
    assert await far.size() == 2


async def test_a_password_that_is_missing_is_told(mortal: RedisServer, clock: Clock) -> None:
    mortal.client.config_set("requirepass", "hunter2")
    link = Link(mortal.url, SECRET, timeout_s=PATIENCE_S)
    assert isinstance(await refused_as(link.open()), Away)
    assert "another user or password" in link.state
    await link.close()

    link = Link(mortal.url.replace("redis://", "redis://:hunter2@"), SECRET, timeout_s=PATIENCE_S)
    await link.open()
    assert "hunter2" not in link.state
    await link.close()


async def test_what_others_keep_under_our_names_is_told_and_the_shelf_begun_anew(
    server: RedisServer, store: RedisAnswers, link: Link
) -> None:
    shelf = link.names.shelf(link.names.shelf_of(digest("a")))
    server.client.set(shelf + b":c", "something else")
    error = await refused_as(store.get(digest("s"), digest("a")))
    assert isinstance(error, Refused)
    assert error.code == "WRONGTYPE"

    await store.put(entry_of("a"))
    assert await store.get(digest("s"), digest("a")) == entry_of("a")


async def test_a_shelf_that_redis_evicted_in_part_goes_on(server: RedisServer, store: RedisAnswers, link: Link) -> None:
    await store.put(entry_of("a"))
    shelf = link.names.shelf(link.names.shelf_of(digest("a")))
    for part in (b":p", b":o", b":i", b":s", b":c"):
        server.client.delete(shelf + part)
        await store.put(entry_of("a"))
        assert await store.get(digest("s"), digest("a")) == entry_of("a")

    assert await store.size() == 1


async def test_a_cluster_moves_a_shelf_while_it_is_used(nodes: tuple[RedisServer, RedisServer], clock: Clock) -> None:
    link = Link(nodes[1].url, SECRET, timeout_s=PATIENCE_S)
    store = store_of(link, clock)
    for number in range(64):
        await store.put(entry_of(f"{number}"))
    slot = asked(nodes[0], "CLUSTER", "KEYSLOT", link.names.shelf(3) + b":c")
    source = next(n for n, node in enumerate(nodes) if asked(node, "CLUSTER", "COUNTKEYSINSLOT", slot))
    old, new = nodes[source], nodes[1 - source]
    ids = [node.ask("CLUSTER", "MYID") for node in (old, new)]
    new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    writes = asyncio.create_task(written(store, range(64, 128)))
    while moved := asked(old, "CLUSTER", "GETKEYSINSLOT", slot, 5):
        for key in moved:
            asked(old, "MIGRATE", "127.0.0.1", new.port, key, 0, 5000)
        await asyncio.sleep(0.002)
    for node in (new, old):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    await writes
    await until_flushed(store)

    assert None not in [await found_at_last(store, f"{number}") for number in range(128)]
    assert await store.size() == 128
    assert store.stats.refused == 0
    await store.close()
    await link.close()


def asked(node: RedisServer, *words: str | bytes | int) -> Any:
    return node.client.execute_command(*words)  # type: ignore[no-untyped-call]


async def written(store: RedisAnswers, numbers: range) -> None:
    for number in numbers:
        await store.put(entry_of(f"{number}"))


async def test_scripts_are_told_again_to_a_server_that_forgot_them(server: RedisServer, link: Link) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        assert await link.run(script, b"k", 1) == [b"k", b"1"]
        assert await link.run_all([(script, b"k", (n,)) for n in range(3)]) == [[b"k", b"%d" % n] for n in range(3)]
        server.client.script_flush()
    assert not link.failures


@pytest.mark.parametrize(
    ("error", "code", "words", "is_away"),
    [
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING", "loading its data", True),
        (exceptions.AuthenticationError("Authentication required."), "NOAUTH", "user or password", True),
        (exceptions.ReadOnlyError("You can't write"), "READONLY", "name the primary", True),
        (exceptions.ClusterDownError("Hash slot not served"), "CLUSTERDOWN", "not whole", True),
        (exceptions.SlotNotCoveredError("Slot 3"), "CLUSTERDOWN", "not whole", True),
        (exceptions.MovedError("3 127.0.0.1:7000"), "MOVED", "being changed", True),
        (exceptions.TimeoutError("Timeout reading from socket"), "away", "in time", True),
        (ConnectionResetError("reset by peer"), "away", "reset by peer", True),
        (exceptions.OutOfMemoryError("command not allowed"), "OOM", "shared.answers_mb", False),
        (exceptions.NoPermissionError("no permissions"), "NOPERM", "may not do that", False),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), "WRONGTYPE", "Operation", False),
        (exceptions.ResponseError("MISCONF Redis is configured to save"), "MISCONF", "save", False),
        (exceptions.ResponseError("something odd"), "ERR", "odd", False),
        (KeyError("a bug of the library"), "away", "KeyError", True),
    ],
)
def test_every_error_has_a_code_and_words(error: Exception, code: str, words: str, is_away: bool) -> None:
    found = understood(error)

    assert (found[0], found[2]) == (code, is_away)
    assert words in found[1]
