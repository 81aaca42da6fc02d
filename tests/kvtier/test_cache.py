import pytest
import torch

from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry
from kvtier.keys import block_keys, chain_root
from tests.kvtier.rows import SMALL, assert_rows, hit, publish, slab_of, small_cache

IDS = list(range(100, 118))  # four full blocks and two tokens


def test_a_published_prefix_is_given_back_exactly() -> None:
    cache = small_cache(8)

    assert publish(cache, "a", IDS) == 4
    assert hit(cache, "a", IDS) == 16
    cache.check()


def test_bfloat16_rows_come_back_bit_for_bit() -> None:
    geometry = KVGeometry(30, 3, 64, "bfloat16")
    cache = KVCache(geometry, 4 * geometry.block_bytes, secret=b"s", model="m", tokenizer="t")
    slab, back = torch.randn(30, 2, 3, 100, 64).to(torch.bfloat16), torch.zeros(30, 2, 3, 90, 64, dtype=torch.bfloat16)
    cache.publish_tail("a", range(90), slab, 90)
    with cache.match("a", range(90)) as lease:
        lease.load_into(back)

    assert lease.num_tokens == 89
    assert torch.equal(back[:, :, :, :89], slab[:, :, :, :89])


def test_the_last_prompt_token_is_left_to_compute() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS[:8])

    with cache.match("a", IDS[:8]) as lease:
        assert lease.num_tokens == 7
        assert lease.num_full_blocks == 1
        assert_rows(lease, "a", IDS[:8])


def test_a_block_that_diverges_is_used_up_to_the_divergence() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS)

    assert hit(cache, "a", [*IDS[:10], 7, 7, 7, 7]) == 10
    assert hit(cache, "a", [IDS[0], 7, 7, 7, 7]) == 1


def test_a_first_block_not_reached_is_no_obstacle_to_a_hit() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS[:3], tail=True)

    assert hit(cache, "a", [*IDS[:3], 7, 7]) == 3


@pytest.mark.parametrize(("multiple_of", "num_tokens"), [(1, 17), (4, 16), (8, 16), (12, 12), (5, 15), (20, 0)])
def test_a_hit_is_cut_to_the_multiple_asked_for(multiple_of: int, num_tokens: int) -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS, tail=True)

    with cache.match("a", IDS, multiple_of=multiple_of) as lease:
        assert lease.num_tokens == num_tokens
        assert_rows(lease, "a", IDS)


@pytest.mark.parametrize(("limit", "num_tokens"), [(None, 17), (0, 0), (3, 3), (4, 4), (9, 9), (18, 18), (99, 18)])
def test_a_limit_bounds_the_hit(limit: int | None, num_tokens: int) -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS, tail=True)

    assert cache.peek("a", IDS, limit=limit) == num_tokens
    with cache.match("a", IDS, limit=limit) as lease:
        assert lease.num_tokens == num_tokens


def test_two_salts_share_nothing() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS, tail=True)

    assert hit(cache, "b", IDS) == 0
    assert hit(cache, "b", IDS[:2]) == 0
    assert set(cache.keys("a", IDS)).isdisjoint(cache.keys("b", IDS))
    assert publish(cache, "b", IDS[:4]) == 1
    assert hit(cache, "b", IDS) == 4


def test_keys_are_those_of_the_full_blocks() -> None:
    root = chain_root(b"secret", "model", "tokenizer", SMALL, "a")

    assert small_cache(1).keys("a", IDS) == block_keys(root, IDS, 4)


def test_a_chain_stands_for_its_salt() -> None:
    cache = small_cache(8)
    chain = cache.chain("a")
    for num_computed in (3, 6, 11, 18):
        cache.publish(chain, IDS[:num_computed], slab_of("a", IDS), num_computed)

    assert hit(cache, "a", IDS) == 16
    assert cache.stats.published_blocks == 4


def test_what_is_kept_already_is_not_kept_again() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS)

    assert publish(cache, "a", IDS) == 0
    assert publish(cache, "a", [*IDS[:8], *range(8)]) == 2
    assert cache.blocks.cached == 6


def test_only_computed_rows_are_kept() -> None:
    cache = small_cache(8)

    assert cache.publish("a", IDS, slab_of("a", IDS[:9], spare=9), 9) == 2
    assert hit(cache, "a", IDS) == 8


def test_a_sequence_that_goes_on_does_not_change_what_it_published() -> None:
    cache, slab = small_cache(8), slab_of("a", IDS)
    cache.publish_tail("a", IDS, slab, 18)
    slab.fill_(-5.0)

    assert hit(cache, "a", IDS) == 18


def test_a_loaded_slab_may_be_overwritten() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS)
    slab = slab_of("x", IDS)
    with cache.match("a", IDS) as lease:
        lease.load_into(slab)
        slab.fill_(-5.0)
        assert_rows(lease, "a", IDS)


def test_a_longer_tail_replaces_a_shorter_one() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS[:5], tail=True)
    publish(cache, "a", IDS[:7], tail=True)

    assert hit(cache, "a", IDS) == 7
    assert cache.blocks.cached == 2


def test_the_full_form_replaces_a_tail() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS[:7], tail=True)
    publish(cache, "a", IDS[:8])

    assert hit(cache, "a", IDS) == 8
    assert cache.blocks.cached == 2


@pytest.mark.parametrize("kept", [IDS[:8], IDS[:7]])
def test_a_tail_that_is_covered_takes_no_block(kept: list[int]) -> None:
    cache = small_cache(8)
    publish(cache, "a", kept, tail=True)

    assert publish(cache, "a", IDS[:6], tail=True) == 0
    assert cache.blocks.cached == 2


def test_a_replaced_tail_stays_readable_while_it_is_leased() -> None:
    cache = small_cache(3)
    publish(cache, "a", IDS[:7], tail=True)
    lease = cache.match("a", IDS[:8])
    publish(cache, "a", IDS[:8])
    publish(cache, "a", range(8))

    assert_rows(lease, "a", IDS[:8])
    cache.check()
    lease.release()
    cache.check()
    assert lease.num_tokens == 7


def test_rows_beyond_the_fill_of_a_tail_are_never_given() -> None:
    cache = small_cache(1)
    publish(cache, "a", IDS[:4])
    cache.clear()
    publish(cache, "a", [9, 9], tail=True)

    assert hit(cache, "a", [9, 9, IDS[2], IDS[3]]) == 2


def test_a_lease_is_released_once() -> None:
    cache = small_cache(4)
    publish(cache, "a", IDS[:8])
    lease = cache.match("a", IDS)
    assert cache.blocks.leased == 2

    lease.release()
    lease.release()
    assert cache.blocks.leased == 0
    cache.check()


def test_a_released_lease_is_not_read() -> None:
    cache = small_cache(4)
    publish(cache, "a", IDS)
    lease = cache.match("a", IDS)
    lease.release()

    with pytest.raises(RuntimeError, match="after its release"):
        lease.load_into(slab_of("a", IDS))


def test_a_slab_too_short_for_the_lease_is_refused() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS)

    with cache.match("a", IDS) as lease, pytest.raises(ValueError, match="holds 8 rows, not 16"):
        lease.load_into(slab_of("a", IDS[:8], spare=0))


def test_a_refused_publish_leaves_no_trace() -> None:
    cache = small_cache(8)

    with pytest.raises(ValueError, match="slab"):
        cache.publish("a", IDS, slab_of("a", IDS)[:1], 18)
    with pytest.raises(ValueError, match="computed 19 of 18"):
        cache.publish("a", IDS, slab_of("a", IDS), 19)
    assert cache.blocks.free == 8
    cache.check()


def test_a_copy_that_fails_leaves_the_accounts_in_order() -> None:
    cache = small_cache(4)
    publish(cache, "a", range(16))
    unreadable = slab_of("a", IDS).to("meta")  # right in shape and dtype, without data

    with pytest.raises(NotImplementedError):
        cache.publish("a", IDS, unreadable, 18)
    assert cache.blocks.free == 4
    cache.check()
    assert publish(cache, "a", IDS) == 4


def test_what_is_cleared_is_gone_but_stays_readable_while_leased() -> None:
    cache = small_cache(8)
    publish(cache, "a", IDS, tail=True)
    lease = cache.match("a", IDS)
    cache.clear()

    assert cache.peek("a", IDS) == 0
    assert_rows(lease, "a", IDS)
    publish(cache, "a", IDS[:8])
    cache.check()
    lease.release()
    assert cache.blocks.cached == 2
    cache.check()


def test_an_empty_prompt_finds_nothing() -> None:
    cache = small_cache(8)

    assert hit(cache, "a", []) == 0
    assert publish(cache, "a", [], tail=True) == 0
