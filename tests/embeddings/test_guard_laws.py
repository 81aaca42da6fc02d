"""What holds of every guard for every text: it answers, the same both ways, and has nothing against the text itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.guards import GUARDS, first_refusal, near_misses
from tests.embeddings.guard_cases import PASSED, REFUSED

TEXTS = [text for pair in [*PASSED, *(p for pairs in REFUSED.values() for p in pairs)] for text in pair]
PIECES = sorted({word for text in TEXTS for word in text.split() if len(word) < 40})

known = st.sampled_from(TEXTS)
mixed = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map(" ".join)
texts = known | mixed | st.text(max_size=60)
FEW = settings(max_examples=80, deadline=None)


@given(texts, texts)
@FEW
def test_every_guard_answers_the_same_both_ways(a: str, b: str) -> None:
    assert {name: guard(a, b) for name, guard in GUARDS.items()} == {
        name: guard(b, a) for name, guard in GUARDS.items()
    }
    assert first_refusal(a, b) == first_refusal(b, a)
    assert near_misses(a, b) == near_misses(b, a)


@given(texts)
@FEW
def test_no_guard_has_anything_against_a_text_itself(text: str) -> None:
    assert [name for name, guard in GUARDS.items() if not guard(text, text)] == []


FULL_WIDTH = {code: code + 0xFEE0 for code in map(ord, "0123456789?,!")}


@given(known | mixed)
@FEW
def test_spacing_and_width_are_no_difference(text: str) -> None:
    assert first_refusal(text, f"  {text} ") is None
    assert first_refusal(text, text.translate(FULL_WIDTH)) is None


@pytest.mark.parametrize("text", [text for pair in PASSED for text in pair])
def test_case_is_no_difference_in_a_plain_question(text: str) -> None:
    assert first_refusal(text, text.lower()) is None
    assert first_refusal(text, text.upper()) is None
    assert first_refusal(text, text.title()) is None
