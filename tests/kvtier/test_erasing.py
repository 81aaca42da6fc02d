"""What is kept for one owner goes on request: from RAM, from files of any model, from Redis."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry
from kvtier.keys import Chain, owner_mark, pack
from kvtier.tiers.base import Segment, Tier
from kvtier.tiers.redis import RedisTier
from kvtier.tiers.sealing import SegmentSeal
from kvtier.tiers.segment import ALIGN, SegmentForm
from tests.kvtier.rows import assert_rows, slab_of, small_cache
from tests.kvtier.tiers.places import disk_tier, small_form, tiered_cache, write_all
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving
from tests.kvtier.tiers.slow import SlowTier

MINE, OTHERS = list(range(100, 165)), list(range(300, 365))


def keep(cache: KVCache, owner: str, ids: list[int]) -> None:
    chain = cache.chain(owner, owner)
    cache.publish_tail(chain, ids, slab_of(owner, ids), len(ids))


def both_kept(*tiers: Tier) -> KVCache:
    cache = tiered_cache(64, *tiers)
    keep(cache, "me", MINE)
    keep(cache, "you", OTHERS)
    if tiers:
        write_all(cache)
    return cache


def seal_of(key: bytes) -> SegmentSeal:
    return SegmentSeal([key * 32])


def files_with(folder: Path, ids: list[int]) -> list[Path]:
    said = pack(ids[:8]).hex().encode()
    return [path for path in folder.rglob("*") if path.is_file() and said in path.read_bytes()]


def test_blocks_of_one_owner_go_and_anothers_stay() -> None:
    cache = small_cache(64)
    keep(cache, "me", MINE)
    keep(cache, "you", OTHERS)

    assert cache.erase("me").blocks == 17
    assert cache.peek("me", MINE) == 0
    assert cache.peek("you", OTHERS) == 64
    cache.check()


def test_erased_blocks_hold_nothing_any_more() -> None:
    cache = both_kept()
    before = bool(cache._store.arena._blocks[:17].nan_to_num().count_nonzero())

    cache.erase("me")

    assert before
    assert not cache._store.arena._blocks[:17].nan_to_num().count_nonzero()


def test_what_is_read_at_that_moment_is_read_to_its_end_and_blanked_then() -> None:
    cache = both_kept()
    lease = cache.match("me", MINE)
    cache.erase("me")
    assert_rows(lease, "me", MINE)

    lease.release()

    assert not cache._store.arena._blocks[:17].nan_to_num().count_nonzero()
    cache.check()


def test_a_request_from_before_keeps_nothing_and_one_from_after_does() -> None:
    cache = small_cache(64)
    running = cache.chain("me", "me")
    cache.erase("me")

    assert cache.publish(running, MINE, slab_of("me", MINE), len(MINE)) == 0
    assert not cache.publish_tail(running, MINE, slab_of("me", MINE), len(MINE))
    keep(cache, "me", MINE)
    assert cache.peek("me", MINE) == 64


def test_files_of_one_owner_go_and_anothers_stay(tmp_path: Path) -> None:
    cache = both_kept(disk_tier(tmp_path))
    assert files_with(tmp_path, MINE)

    erasing = cache.erase("me")

    assert cache.flush(10)
    assert erasing.is_done
    assert erasing.tiers["disk"].count == 3
    assert not files_with(tmp_path, MINE)
    assert files_with(tmp_path, OTHERS)
    cache.close()


def test_files_of_a_model_that_nobody_serves_go_too(tmp_path: Path) -> None:
    both_kept(disk_tier(tmp_path, form=small_form(model="an older one"))).close()
    serving_another = tiered_cache(64, disk_tier(tmp_path))

    erasing = serving_another.erase("me")

    assert serving_another.flush(10)
    assert erasing.tiers["disk"].count == 3
    assert not files_with(tmp_path, MINE)
    assert files_with(tmp_path, OTHERS)
    serving_another.close()


def test_a_tier_that_fails_is_erased_when_it_works_again() -> None:
    tier = SlowTier()
    cache = both_kept(tier)
    tier.is_broken = True

    erasing = cache.erase("me")
    assert not cache.flush(0.05)
    assert not erasing.is_done
    tier.is_broken = False

    assert cache.flush(10)
    assert erasing.tiers["disk"].count == 3
    cache.close()


def test_a_tier_that_refuses_an_erasure_goes_on_taking_what_others_want_kept() -> None:
    tier = SlowTier()
    cache = both_kept(tier)
    tier.refuses_erasures = True
    erasing, later = cache.erase("me"), cache.erase("me")
    again = cache.erase("me")
    assert later.tiers["disk"] is again.tiers["disk"]
    keep(cache, "them", list(range(500, 565)))

    while cache.idle():
        pass
    assert not cache.flush(0.05)  # the erasure waits
    assert {segment.owner for segment in tier.saved} >= {owner_mark(b"secret", "them")}
    tier.refuses_erasures = False
    cache.erase("nobody")  # whoever asks for one has all tried again

    assert cache.flush(10)
    assert erasing.is_done
    assert later.is_done
    cache.close()


def test_what_waits_to_be_written_is_not_written() -> None:
    tier = SlowTier()
    tier.gate.clear()
    cache = tiered_cache(64, tier)
    keep(cache, "you", OTHERS)
    keep(cache, "me", MINE)
    cache.idle()

    cache.erase("me")
    tier.gate.set()
    write_all(cache)

    assert {segment.owner for segment in tier.saved if tier.holds(segment)} == {owner_mark(b"secret", "you")}
    cache.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    yield from serving(tmp_path)


@needs_redis
def test_redis_forgets_one_owner_of_every_model(server: RedisServer) -> None:
    both_kept(RedisTier(server.url, small_form(model="an older one"))).close()
    cache = both_kept(RedisTier(server.url, small_form()))
    assert len(server.client.keys()) == 8

    erasing = cache.erase("me")

    assert cache.flush(10)
    assert erasing.tiers["redis"].count == 4
    left = [cast("bytes", server.client.get(name)) for name in server.client.scan_iter()]
    assert len(left) == 4
    assert not any(pack(MINE[:8]).hex().encode() in value for value in left)
    cache.close()


@needs_redis
def test_redis_forgets_a_sealed_segment_whose_head_is_long(server: RedisServer) -> None:
    """Its head has a tag for each quarter of a MiB, and the model that asks has small ones."""
    large = KVGeometry(num_layers=80, num_kv_heads=32, head_dim=128, dtype="float32", block_tokens=32)
    form = SegmentForm(large, secret=b"secret", model="large", tokenizer="tokenizer", seal=seal_of(b"1"))
    ids = pack(range(32))
    segment = Segment(bytes(32), tuple(Chain(bytes(32), 32).keys(ids)), ids, 0, owner_mark(b"secret", "me"))
    head, _ = form.write(segment, np.zeros(large.block_bytes, np.uint8))
    assert len(head) == 3 * ALIGN
    server.client.set(f"twicetold:{form.namespace}:kv:{form.model}:{segment.key.hex()}", head)
    tier = RedisTier(server.url, small_form(seal=seal_of(b"1")))

    assert tier.erase(owner_mark(b"secret", "you")) == 0
    assert tier.erase(owner_mark(b"secret", "me")) == 1
    tier.close()


def test_what_does_not_open_goes_with_anybodys(tmp_path: Path) -> None:
    both_kept(disk_tier(tmp_path, form=small_form(model="older", seal=seal_of(b"1")))).close()
    cache = tiered_cache(64, disk_tier(tmp_path, form=small_form(seal=seal_of(b"2"))))

    erasing = cache.erase("me")

    assert cache.flush(10)
    assert erasing.tiers["disk"].count == 6
    cache.close()
