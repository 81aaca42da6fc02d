"""When what RAM holds is written, and in which order."""

import numpy as np
import pytest

from kvtier.cache import KVCache
from tests.kvtier.rows import SMALL, publish, slab_of
from tests.kvtier.tiers.places import restore, tiered_cache, write_all
from tests.kvtier.tiers.slow import SlowTier

IDS = list(range(100, 203))
OTHER = list(range(300, 370))


def starts(tier: SlowTier) -> list[int]:
    return [segment.start for segment in tier.saved]


def use(cache: KVCache, ids: list[int]) -> None:
    cache.match("a", ids, limit=len(ids)).release()


def test_what_nobody_asked_for_again_is_not_written_while_there_is_work() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS, tail=True)
    publish(cache, "b", OTHER)
    cache.flush()

    assert tier.saved == []


def test_what_a_second_request_uses_is_written_head_first() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS)
    use(cache, IDS)
    for i in range(3):  # a few segments with each step of the engine
        publish(cache, "b", range(4 * i, 4 * i + 4))
    cache.flush()

    assert starts(tier) == [0, 32, 64]


def test_what_is_pinned_is_written_without_a_second_use() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS[:64])
    cache.persist("a", IDS)
    publish(cache, "b", OTHER[:4])
    cache.flush()

    assert starts(tier) == [0, 32]


def test_an_idle_engine_writes_the_latest_chain_first_and_each_from_its_head() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS, tail=True)
    publish(cache, "a", OTHER)
    assert cache.idle()
    write_all(cache)

    assert starts(tier) == [0, 32, 64, 0, 32, 64, 96]
    assert [len(segment.packed) // 4 for segment in tier.saved] == [32, 32, 4, 32, 32, 32, 7]
    assert not cache.idle()


def test_each_segment_is_written_once() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    for _ in range(3):
        publish(cache, "a", IDS)
        use(cache, IDS)
        write_all(cache)

    assert starts(tier) == [0, 32, 64, 96]


def test_an_end_that_grew_is_written_again_and_whole() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS[:38], tail=True)
    write_all(cache)
    publish(cache, "a", IDS[:64])
    write_all(cache)

    assert [(s.start, len(s.packed) // 4) for s in tier.saved] == [(0, 32), (32, 6), (32, 32)]


def test_only_the_filled_rows_of_a_block_are_written() -> None:
    tier = SlowTier()
    cache = tiered_cache(1, tier)
    publish(cache, "b", OTHER[:4])  # fills the only block with another tenant's rows
    cache.clear()
    publish(cache, "a", [1, 2], tail=True)
    write_all(cache)

    (segment,) = tier.saved
    expected = slab_of("a", [1, 2], spare=0).numpy().reshape(-1).view(np.uint8)
    assert np.array_equal(tier.rows[segment.key], expected)
    cache.close()


def test_what_was_evicted_before_its_turn_is_not_written_with_others_rows() -> None:
    tier = SlowTier()
    cache = tiered_cache(8, tier)
    publish(cache, "a", IDS[:32])
    publish(cache, "b", OTHER[:32])
    write_all(cache)

    assert [segment.packed for segment in tier.saved] != []
    assert len(tier.saved) == 1
    cache.clear()
    cache.close()


def test_a_queue_that_is_full_holds_the_rest_back() -> None:
    tier = SlowTier()
    tier.gate.clear()
    size = 32 * SMALL.bytes_per_token
    cache = tiered_cache(64, tier, queue_bytes=2 * size)
    publish(cache, "a", IDS)
    for _ in range(5):
        assert cache.idle()
    tier.gate.set()
    write_all(cache)

    assert starts(tier) == [0, 32, 64, 96]
    cache.close()


def test_a_tier_that_cannot_keep_up_with_another_drops_and_counts() -> None:
    fast, stuck = SlowTier(), SlowTier()
    stuck.name = "redis"
    stuck.gate.clear()
    size = 32 * SMALL.bytes_per_token
    cache = tiered_cache(64, fast, stuck, queue_bytes=size)
    publish(cache, "a", IDS)
    use(cache, IDS)
    for i in range(8):
        publish(cache, "b", range(4 * i, 4 * i + 4))
        fast.gate.wait()
        cache._sources[0].writer.flush()

    assert starts(fast) == [0, 32, 64]
    assert cache.snapshot()["redis_drops"] == 2
    assert cache.snapshot()["disk_drops"] == 0
    cache.close(0.1)


def test_closing_writes_what_was_not_written_yet() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS, tail=True)
    cache.close(5)

    assert starts(tier) == [0, 32, 64, 96]


def test_closing_keeps_to_its_time_and_counts_what_it_left() -> None:
    tier = SlowTier()
    tier.gate.clear()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS, tail=True)
    cache.close(0.2)

    assert cache.snapshot()["disk_drops"] == 3
    assert len(tier.saved) <= 1


def test_a_tier_that_fails_costs_nothing_but_its_copies() -> None:
    tier = SlowTier()
    tier.is_broken = True
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS)
    write_all(cache)

    assert cache.snapshot()["disk_failures"] == 4
    assert restore(cache, "a", IDS) == {"ram": 100}
    cache.close()


def test_a_tier_that_is_away_is_said_once_when_it_goes_and_once_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tier = SlowTier()
    tier.is_broken = True
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS)
    write_all(cache)
    tier.is_broken = False
    publish(cache, "b", OTHER)
    write_all(cache)

    assert [record.message for record in caplog.records] == [
        "disk: broken; going on without it",
        "disk: works again after 4 failures",
    ]
    cache.close()


def test_a_tier_that_cannot_be_cleared_is_not_read_until_it_is() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS, tail=True)
    write_all(cache)
    tier.is_broken = True

    cache.clear()

    assert not cache.flush(0.1)
    tier.is_broken = False  # it holds everything still, and could be read
    assert restore(cache, "a", IDS) == {}
    assert cache.flush(30)
    assert tier.snapshot()["segments"] == 0
    cache.close()


def test_a_tier_that_is_never_cleared_holds_up_no_end() -> None:
    tier = SlowTier()
    cache = tiered_cache(64, tier)
    tier.is_broken = True
    cache.clear()

    cache.close(0.1)

    assert cache.snapshot()["disk_failures"] > 0
