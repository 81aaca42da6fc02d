from collections import Counter

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.guards.nearness import longest_common, tell
from embeddings.hashing import HashingEmbedder
from embeddings.steps import finished
from embeddings.verifier.features import (
    _SAID,
    FEATURES,
    _num_shared,
    _said_of,
    _threes,
    facts_of,
    features_beside,
    features_of,
    weight,
)
from tests.embeddings.guard_cases import PASSED, REFUSED

EMBEDDER = HashingEmbedder(64)


def seen(a: str, b: str) -> dict[str, float]:
    one, other = EMBEDDER.read([a, b])
    return dict(zip(FEATURES, features_of(one, other).tolist(), strict=True))


def test_equal_texts_differ_in_nothing() -> None:
    found = seen("Which river runs through Paris", "Which river runs through Paris")

    for name in ("cosine", "aligned_less", "aligned_more", "stems", "letters", "in_order", "at_ends"):
        assert found[name] == pytest.approx(1.0, abs=1e-5), name
    for name in ("lonely_less", "lonely_more", "loneliest_more", "numbers_unpaired", "length"):
        assert found[name] == pytest.approx(0.0, abs=1e-5), name


def test_a_word_without_a_partner_is_lonely_and_a_function_word_hardly() -> None:
    name = seen("which river runs through paris", "which river runs through berlin")
    function = seen("which river runs through paris", "what river runs through paris")

    assert name["loneliest_less"] > 0.5
    assert name["lonely_more"] > 4 * function["lonely_more"] > 0
    assert (weight("?"), weight("##ing"), weight("paris")) == (0.0, 1.0, 1.0)
    assert 0 < weight("the") < 0.5


def test_a_piece_weighs_the_same_in_every_kind_of_vocabulary() -> None:
    for mark in ("\u2581", "\u0120"):
        assert weight(f"{mark}the") == weight(f"{mark}The") == weight("the")
        assert weight(f"{mark}paris") == 1.0
        assert weight(mark) == weight(f"{mark}?") == 0.0


def test_what_only_the_longer_text_says_counts_on_one_side() -> None:
    found = seen("open the door", "open the door of the green house near the river")

    assert found["lonely_less"] == pytest.approx(0.0, abs=1e-5)
    assert found["lonely_more"] > 0.3
    assert found["stems_of_shorter"] == found["in_order"] == 1.0
    assert found["stems"] < 0.5


@pytest.mark.parametrize("text", ["", "?!", "🤗", "打开门", "a" * 5000, "word " * 2000])
def test_any_text_has_finite_features(text: str) -> None:
    for other in ("open the door", text):
        one, two = EMBEDDER.read([text, other])
        assert np.isfinite(features_of(one, two)).all()


@settings(deadline=None)
@given(a=st.lists(st.sampled_from("abcd"), max_size=12), b=st.lists(st.sampled_from("abcd"), max_size=12))
def test_the_longest_common_subsequence_is_the_one_of_the_textbook(a: list[str], b: list[str]) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for n, one in enumerate(a):
        for m, other in enumerate(b):
            table[n + 1][m + 1] = table[n][m] + 1 if one == other else max(table[n][m + 1], table[n + 1][m])

    assert longest_common(a, tuple(b)) == table[-1][-1]


TEXTS = ("which river runs through paris", "", "what runs through berlin?", "?!", "open the door 打开门", "word " * 300)


@pytest.mark.parametrize("question", TEXTS)
def test_the_numbers_of_many_beside_one_question_are_those_of_each_pair(question: str) -> None:
    asked, *others = EMBEDDER.read([question, *TEXTS])

    together = finished(features_beside(asked, others))

    assert together == pytest.approx(np.array([features_of(asked, other) for other in others]), abs=1e-5)


RUNS = st.text(alphabet="ab ", max_size=14)


@settings(deadline=None)
@given(a=RUNS, b=RUNS)
def test_runs_of_three_letters_are_shared_as_often_as_both_have_them(a: str, b: str) -> None:
    first, second = ([row[n : n + 3] for n in range(max(len(row) - 2, 1))] for row in (a, b))
    a, b = a.ljust(3, "\0"), b.ljust(3, "\0")

    assert _num_shared(_threes(a), b) == (Counter(first) & Counter(second)).total()
    assert _num_shared(_threes(a), b * 2000) == (Counter(_threes(a)) & Counter(_threes(b * 2000))).total()


@pytest.mark.parametrize("texts", [PASSED, *REFUSED.values()])
def test_what_is_put_back_is_what_was_read(texts: list[tuple[str, str]]) -> None:
    for text in {text for pair in texts for text in pair}:
        read = _SAID.of(text)
        stems, parts = orjson.loads(facts_of(text))

        assert _said_of(stems, tell(text, parts)) == read
