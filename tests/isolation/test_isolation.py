"""What one asks nobody else sees: random pairs over tiers, stores and shapes; `python -m bench.isolation` runs more."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from bench.inprocess import Answer
from bench.isolation.askers import NUM_BEARERS, Asker, Tenant, tenants
from bench.isolation.asking import PATHS, WORDINGS, Question
from bench.isolation.pairs import Pairs
from bench.isolation.scraped import Secrets, crossed, scrape
from bench.isolation.town import give_keys, house
from bench.isolation.watch import Watch
from tests.kvtier.tiers.servers import RedisServer, needs_redis

DIFFERENCES = ("tenant", "namespace", "salt", "model", "swapped")


async def watched(kind: str, folder: Path, count: int, *, redis: str = "") -> Watch:
    async with house(kind, folder, redis=redis) as home:
        pairs = Pairs(home, await give_keys(home), random.Random(1))
        await pairs.run(count)
        if kind != "exact":
            await other_words(pairs)
        await scrape(home, pairs.keys, pairs.watch)
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
    assert watch.served("same")["exact in_flight"] > 1  # who asks beside another may come too late for that


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


async def test_nothing_crosses_by_meaning_in_a_file(tmp_path: Path) -> None:
    watch = await watched("file", tmp_path, 40)

    assert watch.leaks == []
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


SAID = (Tenant("bearer 1", ("sk-0001-secret",)), Tenant("odd x", ("x",)), Tenant('a"b'))


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (f'tenant="{Asker(Tenant("a")).mark}"', "the mark"),
        ('key="sk-0001-secret"', "a credential"),
        ('key="Bearer sk-0001-secret"', "a credential"),
        ('key="x"', "a credential"),
        ('tenant="odd x"', "a tenant's name"),
        ('namespace="A"', "a namespace or a salt"),
        ('tenant="a\\"b"', "a tenant's name"),
        ('entry="e_12"', "a name that one of them was told"),
        ('question="What is a page cache?"', "words of a question"),
    ],
    ids=["mark", "key", "key-inside", "short-key", "tenant", "namespace", "escaped", "entry", "question"],
)
def test_whatever_a_metric_says_of_those_who_asked_is_seen(label: str, told: str) -> None:
    clean = '# HELP x_total a thing asked by A\nx_total{model="m1",tier="exact"} 1\nx_bucket{le="1"} 0\n'
    secrets = Secrets(SAID, {"e_12"})

    assert crossed(clean, secrets) == []
    assert any(one.startswith(told) for one in crossed(clean + f"x_total{{{label}}} 1\n", secrets))
