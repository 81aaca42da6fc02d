"""Text is shown in whole characters, and stop strings are never shown."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local.speech.text import Detokeniser, StopMatcher


def decode(token_ids: Sequence[int]) -> str:
    """A tokenizer with one token per byte."""
    return bytes(token_ids).decode(errors="replace")


@given(st.text())
def test_pieces_add_up_to_the_text_and_cut_no_character(text: str) -> None:
    detokeniser = Detokeniser(decode)

    pieces = [detokeniser.push(byte) for byte in text.encode()]

    assert "".join(pieces) + detokeniser.flush() == text
    assert "\ufffd" in text or all("\ufffd" not in piece for piece in pieces)


def test_a_character_appears_with_its_last_byte() -> None:
    detokeniser = Detokeniser(decode)

    assert [detokeniser.push(byte) for byte in "a缓🙂".encode()] == ["a", "", "", "缓", "", "", "", "🙂"]


def test_broken_bytes_are_shown_at_the_end() -> None:
    detokeniser = Detokeniser(decode)

    assert [detokeniser.push(byte) for byte in "a缓".encode()[:3]] == ["a", "", ""]
    assert detokeniser.flush() == "\ufffd"
    assert detokeniser.flush() == ""


def test_bytes_that_never_make_a_character_are_shown_in_the_end() -> None:
    detokeniser = Detokeniser(decode)

    shown = [detokeniser.push(0xFF) for _ in range(100)]

    assert "".join(shown) + detokeniser.flush() == "\ufffd" * 100
    assert sum(map(bool, shown)) == 3


def test_decoding_never_looks_far_back() -> None:
    sizes: list[int] = []

    def measured(token_ids: Sequence[int]) -> str:
        sizes.append(len(token_ids))
        return decode(token_ids)

    detokeniser = Detokeniser(measured)
    for byte in ("a cache " * 500).encode():
        detokeniser.push(byte)

    assert max(sizes) <= 3


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "is_stopped"),
    [
        ((), ["any", "thing"], "anything", False),
        (("\n",), ["one\ntwo"], "one", True),
        (("END",), ["the E", "N", "D of it"], "the ", True),
        (("END",), ["the EN", "ds"], "the ENds", False),
        (("END",), ["the EN"], "the EN", False),
        (("aab",), ["aaa", "ab"], "aa", True),
        (("abcd", "bc"), ["abcd"], "a", True),
        (("abcd", "bc"), ["a", "b", "c", "d"], "a", True),
        (("bc", "abc"), ["abc"], "", True),
        (("。",), ["缓存", "。好"], "缓存", True),
    ],
)
def test_the_first_complete_stop_string_ends_the_text(
    stops: tuple[str, ...], pieces: list[str], shown: str, is_stopped: bool
) -> None:
    matcher = StopMatcher(stops)

    text = "".join([matcher.push(piece) for piece in pieces]) + matcher.flush()

    assert (text, matcher.is_stopped) == (shown, is_stopped)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4), st.data())
def test_where_the_text_is_cut_does_not_matter(text: str, stops: list[str], data: st.DataObject) -> None:
    whole, cut = StopMatcher(stops), StopMatcher(stops)
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))

    shown = "".join(cut.push(text[a:b]) for a, b in zip([0, *borders], [*borders, len(text)], strict=True))

    assert shown + cut.flush() == whole.push(text) + whole.flush()
    assert not any(stop in shown for stop in stops)
