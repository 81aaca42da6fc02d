"""A public prefix is found under every salt, and nothing that is done under a salt makes one."""

import random

import pytest
import torch

from kvtier.cache import KVCache
from kvtier.keys import Chain, block_keys, chain_root, public_root
from tests.kvtier.rows import SMALL, slab_of, small_cache

IDS = list(range(100, 120))  # five blocks of four
OTHER = [*IDS[:8], *range(200, 212)]


@pytest.fixture
def cache() -> KVCache:
    return small_cache(64)


def published(cache: KVCache, chain: Chain | str, ids: list[int]) -> None:
    cache.publish_tail(chain, ids, slab_of("", ids), len(ids))


def test_every_salt_begins_with_what_is_public(cache: KVCache) -> None:
    published(cache, cache.public_chain(), IDS[:18])

    for salt in ("", "a", "b", "public", "kv-public-root"):
        with cache.match(salt, IDS) as lease:
            assert lease.num_tokens == 16  # the blocks that lie wholly inside
    assert cache.peek("a", OTHER) == 8


def test_ones_own_longer_prefix_comes_before_a_public_one(cache: KVCache) -> None:
    published(cache, cache.public_chain(), IDS[:8])
    published(cache, "a", IDS)

    assert (cache.peek("a", [*IDS, 1]), cache.peek("b", [*IDS, 1])) == (20, 8)


def test_what_goes_on_from_a_public_prefix_is_ones_own(cache: KVCache) -> None:
    published(cache, cache.public_chain(), IDS[:8])
    with cache.match("a", OTHER) as lease:
        assert lease.num_tokens == 8
    published(cache, "a", OTHER)

    assert cache.peek("a", [*OTHER, 1]) == 20
    assert cache.peek("b", [*OTHER, 1]) == 8
    assert cache.peek("b", [*OTHER[:10], 1]) == 8  # nor the tokens behind it, one by one
    cache.check()


def test_rows_of_a_public_prefix_are_copied_as_they_were_computed(cache: KVCache) -> None:
    published(cache, cache.public_chain(), IDS[:8])
    slab = torch.zeros_like(slab_of("", IDS))
    with cache.match("a", IDS) as lease:
        lease.load_into(slab)

    assert torch.equal(slab[:, :, :, :8], slab_of("", IDS)[:, :, :, :8])


def test_whatever_is_done_under_salts_the_public_root_has_nothing(cache: KVCache) -> None:
    """Random requests under random salts, the names of the root among them."""
    chance = random.Random(7)
    cache.public_chain()  # so that everybody looks
    salts = ["", "public", "kv-public-root", public_root(b"secret", "model", "tokenizer", SMALL).hex(), *"abc"]
    for _ in range(300):
        salt, ids = chance.choice(salts), [chance.randrange(3) for _ in range(chance.randrange(1, 24))]
        owner = chance.choice(["", "public", "t"])
        with cache.match(salt, ids):
            published(cache, cache.chain(salt, owner), ids)

    public = cache.public_chain()
    for ids in ([0] * 24, [1] * 24, *([chance.randrange(3) for _ in range(24)] for _ in range(200))):
        assert cache.peek(public, ids) == 0
    cache.check()


def test_the_public_root_is_the_root_of_no_salt() -> None:
    root = public_root(b"secret", "model", "tokenizer", SMALL)
    salts = ["", "public", root.hex(), root.decode("latin-1"), "\x00", "kv-public-root"]

    assert root not in {chain_root(b"secret", "model", "tokenizer", SMALL, salt) for salt in salts}
    assert set(block_keys(root, IDS, 4)).isdisjoint(
        key for salt in salts for key in block_keys(chain_root(b"secret", "model", "tokenizer", SMALL, salt), IDS, 4)
    )


def test_erasing_an_owner_leaves_what_is_public_and_takes_ones_copy(cache: KVCache) -> None:
    published(cache, cache.public_chain(), IDS[:8])
    published(cache, cache.chain("a", "t"), IDS)
    cache.erase("t")

    assert (cache.peek("a", [*IDS, 1]), cache.peek("b", [*IDS, 1])) == (8, 8)


def test_a_public_prefix_costs_nothing_until_there_is_one() -> None:
    cache: KVCache = small_cache(8)
    published(cache, "a", IDS)

    assert cache.peek("b", IDS) == 0
