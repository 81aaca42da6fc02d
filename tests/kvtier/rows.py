"""Rows that tell which prefix they belong to: a row depends on the salt and on every token up to its own."""

from collections.abc import Sequence
from zlib import crc32

import torch

from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry
from kvtier.keys import pack
from kvtier.lease import Lease

SMALL = KVGeometry(num_layers=2, num_kv_heads=2, head_dim=2, dtype="float32", block_tokens=4)


def small_cache(
    num_blocks: int, *, secret: bytes = b"secret", model: str = "model", policy: str = "adaptive"
) -> KVCache:
    """A cache of `num_blocks` blocks of four tokens; what it frees turns to NaN."""
    return KVCache(
        SMALL,
        num_blocks * SMALL.block_bytes,
        secret=secret,
        model=model,
        tokenizer="tokenizer",
        policy=policy,
        poison_freed=True,
    )


def slab_of(salt: str, token_ids: Sequence[int], *, spare: int = 3) -> torch.Tensor:
    """What a model would have computed for `token_ids`, `[2, 2, 2, len + spare, 2]`; the spare rows are infinite."""
    slab = torch.full((2, 2, 2, len(token_ids) + spare, 2), float("inf"))
    place = torch.arange(16.0).reshape(2, 2, 2, 2)
    state = crc32(salt.encode())
    for i, token_id in enumerate(token_ids):
        state = crc32(pack([token_id]), state)
        slab[:, :, :, i, :] = place + (state & 0xFFFFF) * 16  # below 2**24: exact in float32
    return slab


def publish(cache: KVCache, salt: str, token_ids: Sequence[int], *, tail: bool = False) -> int:
    """Publish a wholly computed sequence; returns how many blocks were added."""
    slab = slab_of(salt, token_ids)
    if not tail:
        return cache.publish(salt, token_ids, slab, len(token_ids))
    before = cache.stats.published_blocks + cache.stats.published_tails
    cache.publish_tail(salt, token_ids, slab, len(token_ids))
    return cache.stats.published_blocks + cache.stats.published_tails - before


def assert_rows(lease: Lease, salt: str, token_ids: Sequence[int]) -> None:
    """The lease gives exactly the rows of its prefix, and touches no other row of the slab."""
    slab = torch.full((2, 2, 2, len(token_ids) + 1, 2), -1.0)
    lease.load_into(slab)
    n = lease.num_tokens
    assert torch.equal(slab[:, :, :, :n], slab_of(salt, token_ids[:n], spare=0))
    assert bool((slab[:, :, :, n:] == -1.0).all())


def hit(cache: KVCache, salt: str, token_ids: Sequence[int]) -> int:
    """Tokens found for a prompt that begins with `token_ids`, after comparing their rows."""
    with cache.match(salt, token_ids, limit=len(token_ids)) as lease:
        assert_rows(lease, salt, token_ids)
        return lease.num_tokens
