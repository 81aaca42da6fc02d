"""Prefixes are erased without an engine, sealed or not, and another owner's stay."""

from pathlib import Path

import pytest

from backends.local.kept import erase_kept
from kvtier.keys import pack
from kvtier.tiers.disk import DiskTier
from kvtier.tiers.sealing import SegmentSeal
from kvtier.tiers.segment import SegmentForm
from tests.kvtier.rows import SMALL, slab_of
from tests.kvtier.tiers.places import tiered_cache, write_all

IDS = list(range(100, 165))


@pytest.mark.parametrize("keys", [(), (b"k" * 32,)], ids=["plain", "sealed"])
def test_segments_of_one_owner_go_and_anothers_stay(tmp_path: Path, keys: tuple[bytes, ...]) -> None:
    seal = SegmentSeal(list(keys)) if keys else None
    form = SegmentForm(SMALL, secret=b"secret", model="model", tokenizer="tokenizer", seal=seal)
    cache = tiered_cache(64, DiskTier(tmp_path, 1 << 26, form))
    for owner in ("me", "you"):
        cache.publish(cache.chain(owner, owner), IDS, slab_of(owner, IDS), len(IDS))
    write_all(cache)
    cache.close()
    assert len(list(tmp_path.glob("*/*.seg"))) == 4
    assert any(pack(IDS[:8]).hex().encode() in path.read_bytes() for path in tmp_path.glob("*/*.seg")) is not bool(keys)

    assert erase_kept(tmp_path, "", b"secret", "me", keys) == {"disk": 2}
    assert erase_kept(tmp_path, "", b"secret", "me", keys) == {"disk": 0}
    assert len(list(tmp_path.glob("*/*.seg"))) == 2
