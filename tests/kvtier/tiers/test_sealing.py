"""Segments under a key: read back bit for bit with it, and by nobody without it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kvtier.keys import pack
from kvtier.tiers.codec import Codec
from kvtier.tiers.disk import DiskTier
from kvtier.tiers.redis import RedisTier
from kvtier.tiers.sealing import PIECE_BYTES, NotOpened, SegmentSeal, open_payload, seal_payload
from kvtier.tiers.segment import BadSegment
from tests.kvtier.rows import SMALL, publish, slab_of
from tests.kvtier.tiers.places import disk_tier, restore, small_form, tiered_cache, write_all
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving
from tests.kvtier.tiers.test_segment import IDS, SECOND, restored, written

ONE, TWO = SegmentSeal([b"1" * 32]), SegmentSeal([b"2" * 32])
BOTH = SegmentSeal([b"2" * 32, b"1" * 32])


@pytest.mark.parametrize("codec", ["raw", "int8"])
def test_what_is_sealed_is_read_back_and_shows_neither_tokens_nor_rows(codec: Codec) -> None:
    numbers = SECOND.num_tokens * SMALL.bytes_per_token // 4
    rows = np.random.default_rng(5).standard_normal(numbers, np.float32).view(np.uint8)
    form, plain = small_form(seal=ONE, codec=codec), small_form(codec=codec)
    data, bare = (head + payload.tobytes() for head, payload in (one.write(SECOND, rows) for one in (form, plain)))
    head = form.read_head(data)

    assert head.segment == SECOND
    assert len(data) == head.num_bytes == len(bare)
    assert np.array_equal(restored(form, data).rows, restored(plain, bare).rows)
    assert SECOND.packed.hex().encode() in bare
    assert SECOND.packed.hex().encode() not in data
    assert bare[head.payload_start :][:64] not in data


def test_every_byte_that_is_sealed_is_checked() -> None:
    form = small_form(seal=ONE)
    whole = written(form)
    for place in [*range(0, 1200, 7), *range(4096, len(whole), 101), len(whole) - 1]:
        data = bytearray(whole)
        data[place] ^= 0x10
        with pytest.raises(BadSegment):
            restored(form, bytes(data))


@pytest.mark.parametrize("pieces", [0.5, 1, 2.5])
def test_pieces_open_in_their_own_place_alone(pieces: float) -> None:
    plain = np.random.default_rng(1).integers(0, 255, int(pieces * PIECE_BYTES), dtype=np.uint8)
    sealed, key, tags = seal_payload(plain)
    into = np.empty_like(plain)

    def read(piece: memoryview, at: int) -> None:
        piece[:] = sealed.data[at : at + len(piece)]

    open_payload(memoryview(into.data), key, tags, read)
    assert np.array_equal(into, plain)
    with pytest.raises(NotOpened):
        open_payload(memoryview(into.data), key, tags[16:] + tags[:8], read)
    with pytest.raises(NotOpened):
        open_payload(memoryview(into.data), key, bytes(reversed(tags)), read)


def test_a_segment_under_another_key_or_none_is_no_segment() -> None:
    data = written(small_form(seal=ONE))

    assert small_form(seal=BOTH).read_head(data).segment == SECOND
    for other in (small_form(seal=TWO), small_form(), small_form(seal=ONE, secret=b"another")):
        with pytest.raises(BadSegment):
            other.read_head(data)
    with pytest.raises(BadSegment, match="not sealed"):
        small_form(seal=ONE).read_head(written(small_form()))


def filled(tier: DiskTier | RedisTier) -> None:
    cache = tiered_cache(64, tier)
    publish(cache, "a", IDS, tail=True)
    write_all(cache)
    cache.close()


def test_a_sealed_disk_gives_the_same_rows_after_a_restart_and_keeps_nothing_plain(tmp_path: Path) -> None:
    filled(disk_tier(tmp_path, form=small_form(model="another")))  # plain, of a model that is not served any more
    filled(disk_tier(tmp_path))
    filled(disk_tier(tmp_path, form=small_form(seal=ONE)))
    cache = tiered_cache(64, disk_tier(tmp_path, form=small_form(seal=BOTH)))

    assert restore(cache, "a", IDS) == {"disk": len(IDS)}
    cache.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert pack(IDS[:32]).hex().encode() not in raw
    assert slab_of("a", IDS)[0, 0, 0, :4].numpy().tobytes() not in raw
    assert list(tmp_path.rglob("*.seg"))


def test_a_disk_without_its_key_is_an_empty_one(tmp_path: Path) -> None:
    filled(disk_tier(tmp_path, form=small_form(seal=ONE)))
    cache = tiered_cache(64, disk_tier(tmp_path, form=small_form(seal=TWO)))

    assert restore(cache, "a", IDS) == {}
    cache.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    yield from serving(tmp_path)


@needs_redis
def test_a_sealed_redis_gives_the_same_rows_and_keeps_nothing_plain(server: RedisServer) -> None:
    filled(RedisTier(server.url, small_form()))
    swept = RedisTier(server.url, small_form(seal=ONE))
    assert swept._sweeper is not None
    swept._sweeper.join()
    assert server.client.dbsize() == 0
    filled(swept)
    cache = tiered_cache(64, RedisTier(server.url, small_form(seal=BOTH)))

    assert restore(cache, "a", IDS) == {"redis": len(IDS) - len(IDS) % SMALL.block_tokens}
    cache.close()
    values = [server.client.get(name) or b"" for name in server.client.scan_iter()]
    assert values
    assert not any(pack(IDS[:32]).hex().encode() in value for value in values)
    assert not any(slab_of("a", IDS)[0, 0, 0, :4].numpy().tobytes() in value for value in values)
