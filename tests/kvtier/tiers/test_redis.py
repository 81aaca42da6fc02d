import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kvtier.tiers.redis import RedisTier
from tests.kvtier.rows import SMALL, assert_rows, publish, slab_of
from tests.kvtier.tiers.places import disk_tier, restore, small_form, tiered_cache, write_all
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

pytestmark = needs_redis

IDS = list(range(100, 201))  # three segments of 32 tokens, one block, and one token


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    yield from serving(tmp_path)


def tier(server: RedisServer) -> RedisTier:
    return RedisTier(server.url, small_form())


def fill(server: RedisServer) -> None:
    cache = tiered_cache(64, tier(server))
    publish(cache, "a", IDS, tail=True)
    write_all(cache)
    cache.close()


def name_of(key: bytes) -> str:
    form = small_form()
    return f"twicetold:{form.namespace}:kv:{form.model}:{key.hex()}"


def num_fetches(server: RedisServer, fetcher: RedisTier) -> int:
    """Round trips that a prompt of four segments takes."""
    cache = tiered_cache(64, fetcher)
    before = num_reads(server)
    assert restore(cache, "a", IDS) == {"redis": 100}
    after = num_reads(server)
    cache.close()
    return after - before


def num_reads(server: RedisServer) -> int:
    return int(server.client.info("stats")["total_reads_processed"])


def test_what_another_gateway_wrote_is_found(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))

    assert restore(cache, "a", IDS) == {"redis": 100}
    assert restore(cache, "a", IDS[:64]) == {"redis": 64}
    assert restore(cache, "b", IDS) == {}
    assert cache.snapshot()["redis_hits"] == 2
    cache.close()


def test_ram_then_disk_then_redis_give_one_prefix(server: RedisServer, tmp_path: Path) -> None:
    fill(server)
    on_disk = tiered_cache(64, disk_tier(tmp_path / "kv"))
    publish(on_disk, "a", IDS[:64])
    write_all(on_disk)
    on_disk.close()

    cache = tiered_cache(64, disk_tier(tmp_path / "kv"), tier(server))
    publish(cache, "a", IDS[:12])
    assert restore(cache, "a", IDS) == {"ram": 12, "disk": 52, "redis": 36}
    cache.close()


def test_int8_values_are_shared_with_those_who_want_them_so(server: RedisServer) -> None:
    def packed() -> RedisTier:
        return RedisTier(server.url, small_form(codec="int8"))

    writer = tiered_cache(64, packed())
    publish(writer, "a", IDS)
    write_all(writer)
    writer.close()

    cache, raw = tiered_cache(64, packed()), tiered_cache(64, tier(server))
    prefetch = cache.prefetch("a", IDS, limit=len(IDS))
    assert prefetch.wait(10)
    with cache.match("a", IDS, limit=len(IDS), prefetched=prefetch) as lease:
        assert lease.by_tier == {"redis": 100}
        slab = torch.zeros(2, 2, 2, len(IDS), 2)
        lease.load_into(slab)
    wanted = slab_of("a", IDS[:100], spare=0)
    half_a_step = wanted.abs().amax(-1, keepdim=True) / 254
    assert bool(((slab[:, :, :, :100] - wanted).abs() <= half_a_step * 1.01).all())
    assert restore(raw, "a", IDS) == {}
    cache.close()
    raw.close()


def test_a_segment_is_one_key_that_expires(server: RedisServer) -> None:
    fill(server)
    names = server.client.keys("*")

    assert len(names) == 4
    assert all(0 < server.client.ttl(name) <= 7 * 86400 for name in names)


def test_a_run_is_fetched_in_windows(server: RedisServer) -> None:
    fill(server)
    every_one = num_fetches(server, RedisTier(server.url, small_form(), window_bytes=1))

    assert every_one - num_fetches(server, tier(server)) == 3


def test_a_value_of_another_segment_is_a_miss_and_is_deleted(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    keys = cache.keys("a", IDS)
    name = name_of(keys[15])
    other = server.client.get(name_of(keys[7]))
    assert isinstance(other, bytes)
    server.client.set(name, other)

    assert restore(cache, "a", IDS) == {"redis": 32}
    assert cache.snapshot()["redis_bad"] == 1
    assert not server.client.exists(name)
    cache.close()


@pytest.mark.parametrize("place", [0, 5, 100, 5000])
def test_a_changed_byte_is_a_miss(server: RedisServer, place: int) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    name = name_of(cache.keys("a", IDS)[7])
    whole = server.client.get(name)
    assert isinstance(whole, bytes)
    value = bytearray(whole)
    value[place] ^= 1
    server.client.set(name, bytes(value))

    assert restore(cache, "a", IDS) == {}
    with cache.match("a", IDS, prefetched=None) as lease:
        assert lease.miss == "no_prefix"
    assert cache.snapshot()["redis_bad"] == 1
    cache.close()


def test_a_segment_the_server_evicted_ends_the_prefix(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    server.client.delete(name_of(cache.keys("a", IDS)[15]))

    assert restore(cache, "a", IDS) == {"redis": 32}
    cache.close()


def test_a_server_that_evicts_as_it_likes_gives_whole_prefixes_or_none(server: RedisServer) -> None:
    server.client.config_set("maxmemory", "2mb")
    server.client.config_set("maxmemory-policy", "allkeys-random")
    cache = tiered_cache(2000, tier(server))
    for salt in range(60):
        publish(cache, str(salt), IDS)
    write_all(cache)
    cache.close()

    assert server.client.info("stats")["evicted_keys"] > 0
    again = tiered_cache(64, tier(server))
    found = [restore(again, str(salt), IDS).get("redis", 0) for salt in range(60)]
    assert set(found) <= {0, 32, 64, 96, 100}
    assert max(found) > 0
    again.close()


def test_a_use_begins_the_time_to_live_anew(server: RedisServer) -> None:
    fill(server)
    for name in server.client.keys("*"):
        server.client.expire(name, 100)
    cache = tiered_cache(64, tier(server))
    assert restore(cache, "a", IDS[:64]) == {"redis": 64}

    lives = sorted(int(str(server.client.ttl(name))) for name in server.client.keys("*"))
    assert [life > 100 for life in lives] == [False, False, True, True]
    cache.close()


def test_a_full_server_refuses_and_nobody_minds(server: RedisServer) -> None:
    server.client.config_set("maxmemory", "1mb")
    server.client.config_set("maxmemory-policy", "noeviction")
    cache = tiered_cache(64, tier(server))
    publish(cache, "a", IDS)
    write_all(cache)

    assert cache.snapshot()["redis_failures"] > 0
    assert restore(cache, "a", IDS) == {"ram": 100}
    cache.close()


def test_a_server_killed_in_the_middle_is_a_counted_miss_and_comes_back(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    assert restore(cache, "a", IDS) == {"redis": 100}
    server.kill()

    prefetch = cache.prefetch("a", IDS)
    assert prefetch.wait(5)
    with cache.match("a", IDS, prefetched=prefetch) as lease:
        assert lease.num_tokens == 0
        assert lease.miss == "tier_error"
    assert cache.snapshot()["miss_tier_error"] == 1
    assert cache.snapshot()["redis_is_away"] == 1

    server.start()
    fill(server)
    time.sleep(1.0)  # until the breaker lets one try pass
    assert restore(cache, "a", IDS) == {"redis": 100}
    assert cache.snapshot()["redis_is_away"] == 0
    cache.close()


def test_a_hanging_server_costs_a_quarter_of_a_second_once(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    server.hang()

    waits = []
    for _ in range(5):
        began = time.monotonic()
        prefetch = cache.prefetch("a", IDS)
        assert prefetch.wait(5)
        waits.append(time.monotonic() - began)
        assert cache.match("a", IDS, prefetched=prefetch).miss == "tier_error"
    assert sum(waits) < 2.0
    cache.close(0.5)


def test_what_is_cleared_is_gone_for_everybody(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    server.client.set("somebody:else", "1")
    cache.clear()
    assert cache.flush(5)

    assert server.client.keys("*") == [b"somebody:else"]
    assert restore(cache, "a", IDS) == {}
    cache.close()


def test_rows_restored_from_redis_are_published_and_not_written_again(server: RedisServer) -> None:
    fill(server)
    cache = tiered_cache(64, tier(server))
    assert restore(cache, "a", IDS) == {"redis": 100}
    publish(cache, "a", IDS[:100])
    write_all(cache)

    assert cache.snapshot()["redis_writes"] == 0
    with cache.match("a", IDS, limit=100) as lease:
        assert lease.by_tier == {"ram": 100}
        assert_rows(lease, "a", IDS)
    assert cache.blocks.cached == 100 // SMALL.block_tokens
    cache.close()
