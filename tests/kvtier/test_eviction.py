from random import Random

import pytest

from kvtier.cache import KVCache
from kvtier.eviction import POLICIES
from tests.kvtier.rows import SMALL, assert_rows, hit, publish, slab_of, small_cache

ONE, TWO, THREE = list(range(100, 116)), list(range(200, 216)), list(range(300, 316))


def test_the_oldest_sequence_goes_from_its_end() -> None:
    cache = small_cache(8, policy="lru")
    publish(cache, "a", ONE)
    publish(cache, "a", TWO)
    publish(cache, "a", THREE[:8])

    assert hit(cache, "a", ONE) == 8
    assert hit(cache, "a", TWO) == 16
    assert hit(cache, "a", THREE) == 8
    assert cache.stats.evicted_blocks == 2


def test_a_hit_makes_a_prefix_young() -> None:
    cache = small_cache(8, policy="lru")
    publish(cache, "a", ONE)
    publish(cache, "a", TWO)
    hit(cache, "a", ONE)
    publish(cache, "a", THREE)

    assert hit(cache, "a", ONE) == 16
    assert hit(cache, "a", TWO) == 0


def test_a_peek_does_not_make_a_prefix_young() -> None:
    cache = small_cache(8, policy="lru")
    publish(cache, "a", ONE)
    publish(cache, "a", TWO)
    cache.peek("a", ONE)
    publish(cache, "a", THREE)

    assert hit(cache, "a", ONE) == 0


def test_a_shared_head_outlives_its_branches() -> None:
    cache = small_cache(6, policy="lru")
    for branch in range(10):
        publish(cache, "a", [*ONE[:8], *[branch] * 8])
        cache.check()

    assert hit(cache, "a", ONE) == 8
    assert cache.blocks.free == 0


def test_a_sequence_larger_than_the_pool_keeps_its_head() -> None:
    cache = small_cache(3, policy="lru")

    assert publish(cache, "a", ONE) == 3
    assert hit(cache, "a", ONE) == 12
    assert cache.stats.rejected_blocks == 1
    assert cache.stats.evicted_blocks == 0


def test_growing_beyond_the_pool_never_eats_its_own_head() -> None:
    cache, slab = small_cache(3, policy="lru"), slab_of("a", ONE)
    for num_computed in range(1, 17):
        cache.publish("a", ONE, slab, num_computed)
        cache.check()

    assert hit(cache, "a", ONE) == 12


def test_a_pool_of_pinned_blocks_keeps_less() -> None:
    cache = small_cache(5, policy="lru")
    publish(cache, "a", ONE)
    lease = cache.match("a", ONE, limit=16)

    assert publish(cache, "a", TWO) == 1
    assert publish(cache, "a", THREE) == 1
    assert_rows(lease, "a", ONE)
    assert hit(cache, "a", THREE) == 4
    cache.check()


def test_a_wholly_pinned_pool_keeps_nothing_and_says_so() -> None:
    cache = small_cache(4, policy="lru")
    publish(cache, "a", ONE)
    with cache.match("a", ONE, limit=16) as lease:
        assert publish(cache, "a", TWO, tail=True) == 0
        assert_rows(lease, "a", ONE)

    assert cache.stats.rejected_blocks == 4
    assert publish(cache, "a", TWO) == 4


def test_a_replaced_tail_gives_its_room_and_evicts_nobody() -> None:
    cache = small_cache(6, policy="lru")
    publish(cache, "a", TWO)
    publish(cache, "a", ONE[:7], tail=True)
    assert cache.blocks.free == 0
    publish(cache, "a", ONE[:8], tail=True)

    assert cache.stats.evicted_blocks == 0
    assert hit(cache, "a", TWO) == 16


def test_a_short_tail_evicts_nobody() -> None:
    cache = small_cache(5, policy="lru")
    publish(cache, "a", TWO)
    publish(cache, "a", ONE[:5], tail=True)

    assert cache.stats.evicted_blocks == 0
    assert hit(cache, "a", ONE) == 4
    assert hit(cache, "a", TWO) == 16


def test_a_tail_of_half_a_block_is_worth_an_eviction() -> None:
    cache = small_cache(5, policy="lru")
    publish(cache, "a", TWO)
    publish(cache, "a", ONE[:6], tail=True)

    assert hit(cache, "a", ONE) == 6
    assert hit(cache, "a", TWO) == 12


def test_a_covered_tail_makes_its_prefix_young() -> None:
    cache = small_cache(8, policy="lru")
    publish(cache, "a", ONE)
    publish(cache, "a", TWO)
    publish(cache, "a", ONE[:14], tail=True)
    publish(cache, "a", THREE)

    assert hit(cache, "a", ONE) == 16
    assert hit(cache, "a", TWO) == 0


def test_a_tail_whose_head_found_no_room_is_not_kept() -> None:
    cache = small_cache(1, policy="lru")

    assert publish(cache, "a", ONE[:11], tail=True) == 1
    assert cache.stats.published_tails == 0


def test_a_pinned_tail_that_cannot_be_replaced_stays() -> None:
    cache = small_cache(2, policy="lru")
    publish(cache, "a", ONE[:6], tail=True)
    with cache.match("a", ONE[:7]) as lease:
        assert publish(cache, "a", ONE[:8]) == 0
        assert_rows(lease, "a", ONE[:7])

    assert hit(cache, "a", ONE) == 6


def test_a_budget_below_one_block_keeps_nothing() -> None:
    for budget in (0, SMALL.block_bytes - 1, -1):
        cache = KVCache(SMALL, budget, secret=b"s", model="m", tokenizer="t")

        assert publish(cache, "a", ONE, tail=True) == 0
        assert hit(cache, "a", ONE) == 0
        assert cache.stats.rejected_blocks == 0
        cache.clear()
        cache.check()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pinned_prefix_outlives_a_scan(policy: str) -> None:
    cache = small_cache(20, policy=policy)
    publish(cache, "a", ONE)

    assert cache.pin("a", ONE) == 16
    for scan in range(20):
        publish(cache, "a", [1000 + scan] * 16)
    assert hit(cache, "a", ONE) == 16
    assert cache.blocks.pinned == 4
    assert cache.unpin("a", ONE) == 16
    assert cache.blocks.pinned == 0
    cache.check()


def test_at_most_a_fifth_is_pinned_head_first() -> None:
    cache = small_cache(10)
    publish(cache, "a", ONE)

    assert cache.pin("a", ONE) == 8
    assert cache.pin("a", ONE) == 8
    assert cache.pin("b", ONE) == 0
    assert cache.blocks.pinned == 2


def test_clearing_takes_the_pins_off() -> None:
    cache = small_cache(10)
    publish(cache, "a", ONE)
    cache.pin("a", ONE)
    cache.clear()

    assert cache.blocks.pinned == 0
    cache.check()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_tenants_scan_does_not_flush_another(policy: str) -> None:
    cache = small_cache(12, policy=policy)
    publish_for(cache, "quiet", ONE)
    for scan in range(15):
        publish_for(cache, "loud", [1000 + scan] * 16)
        cache.check()

    assert hit(cache, "quiet", ONE) == 16


def test_a_tenant_not_seen_for_long_gives_its_room_up() -> None:
    cache = small_cache(12)
    publish_for(cache, "gone", ONE)
    for scan in range(60):
        publish_for(cache, "loud", [1000 + scan] * 16)

    assert hit(cache, "gone", ONE) == 0


def test_a_tenant_alone_may_fill_the_pool() -> None:
    cache = small_cache(12)
    for head in (ONE, TWO, THREE):
        publish_for(cache, "loud", head)

    assert cache.blocks.free == 0


def test_a_newcomer_gets_its_share_from_whoever_holds_more() -> None:
    cache = small_cache(12)
    for head in (ONE, TWO, THREE):
        publish_for(cache, "loud", head)
    publish_for(cache, "quiet", ONE)

    assert hit(cache, "quiet", ONE) == 16


def test_long_prompts_seen_once_do_not_flush_a_conversation_that_came_back() -> None:
    cache = small_cache(64)
    talk = list(range(5000, 5032))
    for round_ in range(40):
        with cache.match("a", talk):
            pass
        publish(cache, "a", talk)
        for scan in range(3):
            publish(cache, "a", [10_000 + 3 * round_ + scan] * 64)
        cache.check()
    before = cache.stats.hit_tokens
    for scan in range(5):
        publish(cache, "a", [90_000 + scan] * 64)

    assert hit(cache, "a", talk) == 32
    assert cache.stats.hit_tokens > before


def test_the_length_of_an_answer_reaches_the_policy() -> None:
    def found(*, is_told: bool) -> int:
        cache, draw = small_cache(64), Random(1)
        waiting: list[list[int]] = []
        for number in range(600):
            is_last = draw.random() < 0.7
            talk = [number] * 18
            answered = (4 if is_last else 300) if is_told else None
            cache.publish_tail("a", talk, slab_of("a", talk), 18, num_answered=answered)
            waiting += [] if is_last else [talk]
            if len(waiting) > 8:
                with cache.match("a", [*waiting.pop(0), 1]):
                    pass
        return cache.stats.hit_tokens

    assert found(is_told=True) > 1.2 * found(is_told=False)


@pytest.mark.parametrize("policy", POLICIES)
def test_equal_operations_end_in_equal_caches(policy: str) -> None:
    def kept() -> list[int]:
        cache = small_cache(9, policy=policy)
        for number in range(40):
            publish(cache, "a", [number % 7] * 8 + [number % 5] * 8)
        return [hit(cache, "a", [number % 7] * 8 + [number % 5] * 8) for number in range(35)]

    assert kept() == kept()


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="clock"):
        small_cache(4, policy="clock")


def publish_for(cache: KVCache, owner: str, token_ids: list[int]) -> None:
    """Publish under a salt of the owner's own."""
    cache.publish(cache.chain(owner, owner), token_ids, slab_of(owner, token_ids), len(token_ids))
