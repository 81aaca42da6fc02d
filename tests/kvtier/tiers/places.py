"""Caches over real tiers in a folder of the test."""

from collections.abc import Sequence
from pathlib import Path

from kvtier.cache import KVCache
from kvtier.tiers.base import Tier
from kvtier.tiers.codec import Codec
from kvtier.tiers.disk import DiskTier
from kvtier.tiers.sealing import SegmentSeal
from kvtier.tiers.segment import SegmentForm
from tests.kvtier.rows import SMALL, assert_rows

MIB = 1 << 20


def small_form(
    *, secret: bytes = b"secret", model: str = "model", codec: Codec = "raw", seal: SegmentSeal | None = None
) -> SegmentForm:
    return SegmentForm(SMALL, secret=secret, model=model, tokenizer="tokenizer", codec=codec, seal=seal)


def disk_tier(folder: Path, *, budget_bytes: int = 64 * MIB, form: SegmentForm | None = None) -> DiskTier:
    return DiskTier(folder, budget_bytes, form or small_form())


def tiered_cache(num_blocks: int, *tiers: Tier, queue_bytes: int = MIB) -> KVCache:
    """A cache of `num_blocks` blocks of four tokens over `tiers`."""
    return KVCache(
        SMALL,
        num_blocks * SMALL.block_bytes,
        secret=b"secret",
        model="model",
        tokenizer="tokenizer",
        tiers=tiers,
        queue_bytes=queue_bytes,
        poison_freed=True,
    )


def write_all(cache: KVCache) -> None:
    """Have everything RAM holds written, as an engine with nothing to do would."""
    while cache.idle():
        pass
    assert cache.flush(10)


def restore(cache: KVCache, salt: str, ids: Sequence[int], *, multiple_of: int = 1) -> dict[str, int]:
    """Tokens that each tier gives for a prompt beginning with `ids`, after comparing every row."""
    chain = cache.chain(salt)
    prefetch = cache.prefetch(chain, ids, limit=len(ids), multiple_of=multiple_of)
    assert prefetch.wait(10)
    with cache.match(chain, ids, limit=len(ids), multiple_of=multiple_of, prefetched=prefetch) as lease:
        assert_rows(lease, salt, ids)
        assert sum(lease.by_tier.values()) == lease.num_tokens
        return lease.by_tier
