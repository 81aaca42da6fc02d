"""What one asks nobody else sees: random pairs over tiers, stores and shapes; `python -m bench.isolation` runs more."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from bench.inprocess import Answer, ask
from bench.isolation.askers import NUM_BEARERS, Asker, Tenant, tenants
from bench.isolation.asking import PATHS, WORDINGS, Question
from bench.isolation.pairs import Pairs
from bench.isolation.town import give_keys, house
from bench.isolation.watch import Watch
from tests.kvtier.tiers.servers import RedisServer, needs_redis

DIFFERENCES = ("tenant", "namespace", "salt", "model", "swapped")


async def watched(kind: str, folder: Path, count: int, *, redis: str = "") -> Watch:
    async with house(kind, folder, redis=redis) as home:
        pairs = Pairs(home, await give_keys(home), random.Random(1))
        await pairs.run(count)
        if kind == "redis":
            await other_words(pairs)
        for app in home.apps:
            pairs.watch.look(await ask(app, "GET", "/metrics"), Asker(Tenant("who scrapes")))
    return pairs.watch


async def other_words(pairs: Pairs) -> None:
    """One that has not asked yet asks for a thing in two wordings."""
    asker, question = Asker(Tenant("late", ("sk-late",))), Question("chat", "lease")
    pairs.house = replace(pairs.house, apps=pairs.house.apps[:1])
    await pairs.ask(asker, question, "first")
    for one in pairs.house.services:
        await one.pipeline.close()  # what is owed to the store and the index is written
    for wording in WORDINGS[1:]:
        await pairs.ask(asker, replace(question, wording=wording), "same")


async def test_nothing_crosses_between_scopes_in_any_shape_of_request(tmp_path: Path) -> None:
    watch = await watched("exact", tmp_path, 300)

    assert watch.leaks == []
    assert watch.shapes == set(PATHS)
    assert all(watch.served(difference) for difference in DIFFERENCES)
    assert watch.served("same")["exact same_request"] > 10  # what may be shared is, or this shows nothing
    assert watch.served("same")["exact in_flight"] > 5


@needs_redis
async def test_nothing_crosses_by_meaning_or_by_a_shared_store(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        watch = await watched("redis", tmp_path, 60, redis=server.url)
    finally:
        server.kill()
        server.client.close()

    assert watch.leaks == []
    assert watch.served("same")["exact same_request"] > 0
    assert any(tier.startswith("semantic") for tier in watch.served("same"))


async def test_the_watch_sees_when_two_that_it_takes_for_strangers_are_one_tenant(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        ((one, *_),) = [texts for texts in await give_keys(home) if len(texts) == 2][:1]
        pairs = Pairs(home, [], random.Random(1))
        question = Question("chat", "lease")
        await pairs.ask(Asker(Tenant("a", (one,))), question, "first")
        await pairs.ask(Asker(Tenant("b", (one,))), question, "tenant")

    assert any("marks of others" in leak for leak in pairs.watch.leaks)
    assert any("without its asker's mark" in leak for leak in pairs.watch.leaks)
    assert any("another's entry" in leak for leak in pairs.watch.leaks)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_the_watch_sees_a_mark_that_a_stream_cuts_in_two(content_type: str) -> None:
    watch, own, other = Watch(), Asker(Tenant("a")), Asker(Tenant("b"))
    pieces = [other.mark[:9], other.mark[9:]] if content_type != "application/json" else [other.mark]
    body = b"".join(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % piece.encode() for piece in pieces)
    watch.look(Answer(200, {"content-type": content_type}, body), own)

    assert watch.num_leaks == 1


def test_no_two_askers_of_the_bench_are_marked_alike() -> None:
    crowd = tenants(NUM_BEARERS, [("one",), ("two", "three")])
    askers = {Asker(tenant, namespace, salt) for tenant in crowd for namespace in ("", "a") for salt in ("", "a")}

    assert len({asker.mark for asker in askers}) == len(askers)
