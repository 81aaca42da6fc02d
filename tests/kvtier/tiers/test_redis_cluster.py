"""The tier over a Redis Cluster: two real nodes, each with half of the names."""

import time
from collections.abc import Iterator

import pytest

from kvtier.tiers.base import Tier
from kvtier.tiers.redis import RedisTier
from tests.kvtier.rows import publish
from tests.kvtier.tiers.places import restore, small_form, tiered_cache, write_all
from tests.kvtier.tiers.servers import RedisServer, clustered, needs_redis

pytestmark = needs_redis

Pair = tuple[RedisServer, RedisServer]
IDS = list(range(100, 500))  # twelve segments of 32 tokens and half a one


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from clustered(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def nodes(cluster: Pair) -> Pair:
    for node in cluster:
        node.client.flushall()
    return cluster


def fill(nodes: Pair, secret: bytes = b"secret") -> None:
    cache = tiered_cache(200, tier(nodes[0], secret))
    publish(cache, "a", IDS)
    write_all(cache)
    assert cache.snapshot()["redis_failures"] == 0
    cache.close()


def tier(node: RedisServer, secret: bytes = b"secret") -> Tier:
    return RedisTier(node.url, small_form(secret=secret))


def test_a_prefix_spread_over_the_nodes_is_found_whole_from_either(nodes: Pair) -> None:
    fill(nodes)
    sizes = [node.client.dbsize() for node in nodes]

    assert min(sizes) > 0
    assert sum(sizes) == 13
    for node in nodes:
        cache = tiered_cache(200, RedisTier(node.url + "?cluster=1", small_form()))
        assert restore(cache, "a", IDS) == {"redis": 400}
        assert cache.snapshot()["redis_errors"] == 0
        cache.close()


def test_what_is_cleared_is_gone_from_every_node_and_nothing_else_is(nodes: Pair) -> None:
    fill(nodes)
    fill(nodes, b"of somebody else")
    others = sum(node.client.dbsize() for node in nodes) - 13
    cleared = tier(nodes[0])
    cleared.clear()
    cleared.close()

    assert sum(node.client.dbsize() for node in nodes) == others == 13


def test_a_node_that_hangs_costs_one_timeout_and_the_tier_comes_back(nodes: Pair) -> None:
    fill(nodes)
    cache = tiered_cache(200, tier(nodes[0]))
    assert restore(cache, "a", IDS) == {"redis": 400}
    nodes[1].hang()
    prefetch = cache.prefetch("a", IDS)
    assert prefetch.wait(5)
    assert cache.match("a", IDS, prefetched=prefetch).miss == "tier_error"
    until = time.monotonic() + 10
    while cache.snapshot()["redis_errors"] != 1:
        assert time.monotonic() < until, cache.snapshot()
        time.sleep(0.02)

    nodes[1].go_on()
    while restore(cache, "a", IDS) != {"redis": 400}:
        assert time.monotonic() < until
        time.sleep(0.1)
    cache.close()
