import pytest

from kvtier.stats import EvictedKeys, MissReason
from tests.kvtier.rows import publish, small_cache

IDS = list(range(100, 118))


def test_a_hit_counts_its_tokens_by_where_they_came_from() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS, tail=True)
    cache.match("a", [*IDS[:10], 1, 2, 3]).release()

    stats = cache.stats
    assert (stats.lookups, stats.asked_tokens, stats.hit_tokens) == (1, 13, 10)
    assert (stats.hit_blocks, stats.partial_tokens) == (2, 2)
    assert sum(stats.misses.values()) == 0


def test_a_request_that_asks_again_is_not_counted_again() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS)
    cache.match("a", IDS).release()
    cache.match("a", IDS, count=False).release()
    cache.peek("a", IDS)

    assert cache.stats.lookups == 1
    assert cache.stats.hit_tokens == 16


@pytest.mark.parametrize(
    ("num_blocks", "kept", "asked", "reason"),
    [
        (8, [], IDS, "no_prefix"),
        (8, [IDS], [1, *IDS], "no_prefix"),
        (8, [], IDS[:4], "below_block"),
        (4, [IDS, range(16)], IDS, "evicted"),
        (0, [IDS], IDS, "disabled"),
    ],
)
def test_a_miss_has_a_reason(num_blocks: int, kept: list[list[int]], asked: list[int], reason: MissReason) -> None:
    cache = small_cache(num_blocks)
    for ids in kept:
        publish(cache, "a", ids)
    lease = cache.match("a", asked)

    assert lease.miss == reason
    assert {name: count for name, count in cache.stats.misses.items() if count} == {reason: 1}


def test_a_prefix_shorter_than_the_multiple_asked_for_is_below_a_block() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS)

    assert cache.match("a", [*IDS[:10], *IDS], multiple_of=128).miss == "below_block"


def test_a_hit_shortened_by_eviction_is_counted() -> None:
    cache = small_cache(4)
    publish(cache, "a", IDS)
    publish(cache, "a", range(8))
    with cache.match("a", IDS) as lease:
        assert lease.num_tokens == 8

    assert cache.stats.cut_short == 1


def test_what_was_cleared_is_not_called_evicted() -> None:
    cache = small_cache(4)
    publish(cache, "a", IDS)
    publish(cache, "a", range(16))
    cache.clear()

    assert cache.match("a", IDS).miss == "no_prefix"


def test_the_snapshot_is_flat_numbers() -> None:
    cache = small_cache(4)
    publish(cache, "a", IDS[:6], tail=True)
    lease = cache.match("b", IDS)
    snapshot = cache.snapshot()

    assert lease.num_tokens == 0
    assert snapshot["published_blocks"] == snapshot["published_tails"] == snapshot["miss_no_prefix"] == 1
    assert snapshot["blocks_total"] == 4
    assert snapshot["blocks_free"] + snapshot["blocks_cached"] + snapshot["blocks_leased"] == 4
    assert all(isinstance(value, int) for value in snapshot.values())


def test_the_memory_of_evicted_keys_is_bounded() -> None:
    keys = EvictedKeys(capacity=2)
    for key in (b"one", b"two", b"one", b"three"):
        keys.add(key)

    assert len(keys) == 2
    assert b"one" in keys
    assert b"two" not in keys
