"""Whatever the network does to the bytes, the events are the same."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.sse import EventDecoder, EventTooLarge

LIMIT = 64

TABLE: list[tuple[bytes, list[bytes]]] = [
    (b"", []),
    (b"data: a\n\n", [b"a"]),
    (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
    (b"data:no space\n\ndata:  two\n\n", [b"no space", b" two"]),
    (b": ping\n\ndata: a\n: ping\n\n:\n\n", [b"a"]),
    (b"data: one\ndata: two\n\n", [b"one\ntwo"]),
    (b"event: x\nid: 7\nretry: 10\ndata: a\n\n", [b"a"]),
    (b"event: without data\n\n", []),
    (b"data\n\n", [b""]),
    (b"data: left open", [b"left open"]),
    (b"data: left open\n", [b"left open"]),
    (b"data: a\n\ndata: b\r", [b"a", b"b"]),
    (b"\xef\xbb\xbfdata: after a mark\n\n", [b"after a mark"]),
    ("data: 你好\u2028still the same line\x0b\x85\n\n".encode(), ["你好\u2028still the same line\x0b\x85".encode()]),
    (b"database: a\n\n data: b\n\n", []),
]


def decode(chunks: list[bytes], limit: int = LIMIT) -> list[bytes]:
    """Every payload before the end, with b"too large" standing for the error that stopped the reading."""
    decoder = EventDecoder(limit)
    events: list[bytes] = []
    try:
        for chunk in chunks:
            events.extend(decoder.feed(chunk))
        events.extend(decoder.end())
    except EventTooLarge:
        events.append(b"too large")
    return events


@pytest.mark.parametrize(("stream", "events"), TABLE)
def test_a_stream_spells_its_events(stream: bytes, events: list[bytes]) -> None:
    assert decode([stream]) == events


@pytest.mark.parametrize(("stream", "events"), TABLE)
def test_a_stream_read_byte_by_byte_spells_the_same_events(stream: bytes, events: list[bytes]) -> None:
    assert decode([bytes([byte]) for byte in stream]) == events


PIECES = st.sampled_from(
    [b"data: ", b"data:", b"data", b"\n", b"\r", b"\r\n", b":", b" ", b": ping", b"\xe4\xbd\xa0", b"\xef\xbb\xbf", b"x"]
)


@given(st.lists(PIECES | st.binary(max_size=5), max_size=40).map(b"".join), st.lists(st.integers(0, 200), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 8, 9, 10])
@example(b"data: " + b"x" * 100, [3])
def test_where_the_bytes_are_cut_does_not_matter(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(places)]

    assert decode(chunks) == decode([stream])


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * LIMIT, b": " + b"x" * LIMIT, b"data: 12345678\n" * 20, b": ping ping ping\n" * 20]
)
def test_an_event_that_never_ends_is_refused(stream: bytes) -> None:
    assert decode([b"data: before\n\n" + stream]) == [b"before", b"too large"]


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    assert len(decode([b"data: " + b"x" * 50 + b"\n\n"] * 100)) == 100
