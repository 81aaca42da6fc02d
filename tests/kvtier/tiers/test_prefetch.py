"""Rows that come from below RAM: joined to it, or dropped, and never wrong."""

import time

import pytest

from kvtier.cache import KVCache
from tests.kvtier.rows import assert_rows, publish, small_cache
from tests.kvtier.tiers.places import restore, tiered_cache, write_all
from tests.kvtier.tiers.slow import SlowTier

IDS = list(range(100, 200))


def filled(*, load_s: float = 0.0, is_remote: bool = False) -> tuple[KVCache, SlowTier]:
    """A cache whose RAM is empty over a tier that holds `IDS`."""
    tier = SlowTier(load_s=load_s, is_remote=is_remote)
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS)
    write_all(cache)
    cache.close()
    return tiered_cache(64, tier), tier


def learn(cache: KVCache, seconds_per_token: float) -> None:
    for i in range(20):
        cache.observe_compute(i % 4 * 32, 32, 32 * seconds_per_token)


def test_without_tiers_there_is_nothing_to_wait_for() -> None:
    cache = small_cache(8)
    prefetch = cache.prefetch("a", IDS)

    assert prefetch.is_done
    assert prefetch.wait(0)
    assert cache.match("a", IDS, prefetched=prefetch).miss == "no_prefix"
    assert not cache.idle()
    cache.close()


def test_a_prefetch_returns_at_once_and_is_waited_for_elsewhere() -> None:
    cache, tier = filled()
    tier.gate.clear()
    prefetch = cache.prefetch("a", IDS)

    assert not prefetch.wait(0.01)
    tier.gate.set()
    assert prefetch.wait(5)
    with cache.match("a", IDS, prefetched=prefetch) as lease:
        assert lease.by_tier == {"disk": 99}
        assert lease.num_ram_tokens == 0
        assert_rows(lease, "a", IDS)


@pytest.mark.parametrize(("multiple_of", "num_tokens"), [(1, 99), (4, 96), (32, 96), (48, 96), (64, 64), (100, 0)])
def test_the_multiple_holds_for_the_whole(multiple_of: int, num_tokens: int) -> None:
    cache, _ = filled()
    publish(cache, "a", IDS[:12])
    prefetch = cache.prefetch("a", IDS, multiple_of=multiple_of)
    prefetch.wait(5)

    with cache.match("a", IDS, multiple_of=multiple_of, prefetched=prefetch) as lease:
        assert lease.num_tokens == num_tokens
        assert lease.num_ram_tokens == min(12, num_tokens)
        assert_rows(lease, "a", IDS)


def test_nothing_is_loaded_that_the_multiple_would_cut_off() -> None:
    cache, _ = filled()
    publish(cache, "a", IDS[:64])

    assert cache.prefetch("a", IDS, multiple_of=64).is_done
    assert cache.prefetch("a", IDS[:65], multiple_of=4).is_done


@pytest.mark.parametrize("limit", [0, 1, 31, 32, 50, 100])
def test_a_limit_holds_for_the_whole(limit: int) -> None:
    cache, _ = filled()
    prefetch = cache.prefetch("a", IDS, limit=limit)
    prefetch.wait(5)

    with cache.match("a", IDS, limit=limit, prefetched=prefetch) as lease:
        assert lease.num_tokens == limit
        assert_rows(lease, "a", IDS)
    with cache.match("a", IDS, limit=limit // 2, prefetched=prefetch) as lease:
        assert lease.num_tokens == limit // 2


def test_rows_that_no_longer_join_up_with_ram_are_dropped() -> None:
    cache, _ = filled()
    publish(cache, "a", IDS[:64])
    prefetch = cache.prefetch("a", IDS)
    prefetch.wait(5)
    for salt in range(8):  # pushes the prefix out of RAM
        publish(cache, str(salt), range(40))

    with cache.match("a", IDS, prefetched=prefetch) as lease:
        assert lease.num_tokens == lease.num_ram_tokens < 64
        assert_rows(lease, "a", IDS)


def test_what_ram_has_got_meanwhile_is_taken_from_ram() -> None:
    cache, _ = filled()
    prefetch = cache.prefetch("a", IDS)
    prefetch.wait(5)
    publish(cache, "a", IDS[:40])

    with cache.match("a", IDS, prefetched=prefetch) as lease:
        assert lease.by_tier == {"ram": 40, "disk": 59}
        assert_rows(lease, "a", IDS)


def test_the_prefetch_of_another_prompt_gives_only_what_both_share() -> None:
    cache, _ = filled()
    prefetch = cache.prefetch("a", IDS)
    prefetch.wait(5)
    for ids in ([*IDS[:41], 7, 7, 7], [7, *IDS[1:]]):
        with cache.match("a", ids, prefetched=prefetch) as lease:
            assert lease.num_tokens == (41 if ids[0] == IDS[0] else 0)
            assert_rows(lease, "a", ids)
    assert cache.match("b", IDS, prefetched=prefetch).num_tokens == 0


def test_what_has_arrived_before_a_cancel_may_be_used() -> None:
    cache, tier = filled(load_s=0.05)
    prefetch = cache.prefetch("a", IDS)
    while not tier.given:
        time.sleep(0.001)
    time.sleep(0.01)
    prefetch.cancel()

    assert prefetch.is_done
    with cache.match("a", IDS, prefetched=prefetch) as lease:
        assert lease.num_tokens == 32
        assert_rows(lease, "a", IDS)
    tier.gate.set()


def test_two_choices_of_a_request_share_one_prefetch() -> None:
    cache, _ = filled()
    prefetch = cache.prefetch("a", IDS)
    prefetch.wait(5)
    with cache.match("a", IDS, prefetched=prefetch) as one, cache.match("a", IDS, prefetched=prefetch) as other:
        assert_rows(one, "a", IDS)
        assert_rows(other, "a", IDS)


def test_a_load_that_costs_more_than_computing_is_refused_and_said() -> None:
    cache, tier = filled(load_s=0.02)
    learn(cache, 1e-5)  # a hundred tokens in a millisecond
    assert restore(cache, "a", IDS) == {"disk": 100}  # the first is believed

    with cache.match("a", IDS, prefetched=cache.prefetch("a", IDS)) as lease:
        assert lease.num_tokens == 0
    prefetch = cache.prefetch("a", IDS)
    prefetch.wait(5)
    assert cache.match("a", IDS, prefetched=prefetch).miss == "breakeven"
    assert cache.snapshot()["disk_breakeven"] == 2
    assert cache.snapshot()["miss_breakeven"] >= 1
    assert tier.saved


def test_a_tier_that_fails_in_the_middle_is_a_counted_miss() -> None:
    cache, tier = filled()
    tier.is_broken = True
    prefetch = cache.prefetch("a", IDS)
    prefetch.wait(5)

    assert cache.match("a", IDS, prefetched=prefetch).miss == "tier_error"
    assert cache.snapshot()["miss_tier_error"] == cache.snapshot()["disk_failures"] == 1


def test_a_tier_that_is_late_is_not_waited_for() -> None:
    cache, tier = filled(is_remote=True)
    tier.gate.clear()
    prefetch = cache.prefetch("a", IDS)

    assert prefetch.wait(2)
    assert cache.match("a", IDS, prefetched=prefetch).miss == "tier_error"
    assert cache.snapshot()["disk_late"] == 1
    tier.gate.set()


def test_a_tier_that_keeps_bringing_rows_is_waited_for() -> None:
    cache, _ = filled(load_s=0.1, is_remote=True)  # 0.4 s in all, a sign of life every 0.1 s
    prefetch = cache.prefetch("a", IDS)

    assert prefetch.wait(5)
    assert cache.match("a", IDS, prefetched=prefetch).num_tokens == 99


def test_hits_are_counted_by_where_they_came_from() -> None:
    cache, _ = filled()
    publish(cache, "a", IDS[:10], tail=True)
    assert restore(cache, "a", IDS) == {"ram": 10, "disk": 90}

    snapshot = cache.snapshot()
    assert (snapshot["lookups"], snapshot["hit_tokens"], snapshot["ram_hit_tokens"]) == (1, 100, 10)
    assert (snapshot["disk_hits"], snapshot["disk_hit_tokens"], snapshot["disk_loads"]) == (1, 90, 4)
    assert all(isinstance(value, int) for value in snapshot.values())
