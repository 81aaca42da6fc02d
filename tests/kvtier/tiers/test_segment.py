from collections.abc import Callable

import numpy as np
import pytest

from kvtier.geometry import KVGeometry
from kvtier.keys import Chain, pack
from kvtier.tiers.base import Found, Restored, Rows, Segment, Wanted
from kvtier.tiers.segment import BadSegment, SegmentForm
from tests.kvtier.rows import SMALL
from tests.kvtier.tiers.places import small_form

IDS = list(range(100, 190))
CHAIN = Chain(bytes(32), 4)
KEYS = CHAIN.keys(pack(IDS))
SECOND = Segment(KEYS[7], tuple(KEYS[8:16]), pack(IDS[32:64]), 32)  # tokens 32 to 63
WANTED = Wanted(bytes(32), KEYS, pack(IDS), 32, 90, 4)
FOUND = Found(SECOND.key, 32, 64, 0)


def rows_for(segment: Segment) -> Rows:
    return np.random.default_rng(5).integers(0, 255, segment.num_tokens * SMALL.bytes_per_token, dtype=np.uint8)


def written(form: SegmentForm, segment: Segment = SECOND) -> bytes:
    head, payload = form.write(segment, rows_for(segment))
    return head + payload.tobytes()


def read_from(data: bytes) -> Callable[[memoryview, int], None]:
    def read(piece: memoryview, at: int) -> None:
        if at + len(piece) > len(data):
            raise BadSegment("it is cut off")
        piece[:] = data[at : at + len(piece)]

    return read


def restored(form: SegmentForm, data: bytes, wanted: Wanted = WANTED, found: Found = FOUND) -> Restored:
    return form.restore(form.read_head(data), wanted, found, "disk", read_from(data))


def test_what_is_written_is_read_back() -> None:
    form = small_form()
    data = written(form)

    assert form.read_head(data).segment == SECOND
    assert np.array_equal(restored(form, data).rows, rows_for(SECOND))


def test_the_payload_begins_on_a_page_and_everything_is_accounted_for() -> None:
    data = written(small_form())
    head = small_form().read_head(data)

    assert head.payload_start == 4096
    assert head.num_bytes == len(data)


def test_every_byte_is_covered_by_a_mac() -> None:
    form = small_form()
    whole = written(form)
    header_end = whole.index(b"}") + 1
    for place in [*range(0, header_end, 3), *range(4096, len(whole), 101), len(whole) - 1]:
        data = bytearray(whole)
        data[place] ^= 0x10
        with pytest.raises(BadSegment):
            restored(form, bytes(data))


@pytest.mark.parametrize("length", [0, 7, 87, 500, 4095, 4096, 5000])
def test_a_segment_that_is_cut_off_is_refused(length: int) -> None:
    form = small_form()

    with pytest.raises(BadSegment):
        restored(form, written(form)[:length])


@pytest.mark.parametrize(
    "other",
    [
        small_form(secret=b"another"),
        small_form(model="another"),
        small_form(codec="int8"),
        SegmentForm(SMALL, secret=b"secret", model="model", tokenizer="another"),
        SegmentForm(KVGeometry(2, 4, 1, "float32", 4), secret=b"secret", model="model", tokenizer="tokenizer"),
    ],
)
def test_another_secret_model_tokenizer_layout_or_codec_cannot_read_it(other: SegmentForm) -> None:
    with pytest.raises(BadSegment):
        other.read_head(written(small_form()))


def test_it_is_checked_against_the_prompt_and_not_only_against_itself() -> None:
    form, data = small_form(), written(small_form())
    other_tokens = [*IDS[:40], 7, *IDS[41:]]
    other_chain = CHAIN.keys(pack(other_tokens))

    with pytest.raises(BadSegment, match="other tokens"):
        restored(form, data, Wanted(bytes(32), other_chain, pack(other_tokens), 32, 90, 4))
    with pytest.raises(BadSegment, match="another prefix"):
        restored(form, data, Wanted(bytes(32), CHAIN.keys(pack([7, *IDS[1:]])), pack(IDS), 32, 90, 4))
    with pytest.raises(BadSegment, match="another segment"):
        restored(form, data, WANTED, Found(KEYS[7], 32, 64, 0))
    with pytest.raises(BadSegment, match="other keys"):
        restored(form, data, Wanted(bytes(32), [*KEYS[:8], bytes(32), *KEYS[9:]], pack(IDS), 32, 90, 4))


def test_a_prompt_that_leaves_a_segment_in_the_middle_may_use_its_beginning() -> None:
    form, data = small_form(), written(small_form())
    ids = [*IDS[:41], 7]
    wanted = Wanted(bytes(32), CHAIN.keys(pack(ids)), pack(ids), 32, 42, 4)

    assert restored(form, data, wanted, Found(SECOND.key, 32, 41, 0)).stop == 41
    with pytest.raises(BadSegment, match="other tokens"):
        restored(form, data, wanted, Found(SECOND.key, 32, 42, 0))


def test_a_segment_without_a_secret_or_of_an_unknown_codec_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="secret"):
        small_form(secret=b"")
    with pytest.raises(ValueError, match="zip"):
        SegmentForm(SMALL, secret=b"s", model="m", tokenizer="t", codec="zip")  # type: ignore[arg-type]
