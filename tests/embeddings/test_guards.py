import random

import pytest

from bench.guards import twins
from embeddings.guards import GUARDS, NEAR_MISSES, first_refusal, near_misses
from tests.embeddings.guard_cases import PASSED, REFUSED

HARD_NEGATIVES = [(guard, a, b) for guard, pairs in REFUSED.items() for a, b in pairs]


@pytest.mark.parametrize(("guard", "a", "b"), HARD_NEGATIVES)
def test_a_hard_negative_is_refused_by_its_guard_both_ways(guard: str, a: str, b: str) -> None:
    assert not GUARDS[guard](a, b)
    assert not GUARDS[guard](b, a)
    assert first_refusal(a, b) in GUARDS


@pytest.mark.parametrize(("a", "b"), PASSED)
def test_a_rewording_passes_both_ways(a: str, b: str) -> None:
    assert first_refusal(a, b) is None
    assert first_refusal(b, a) is None


@pytest.mark.parametrize(("kind", "most"), [("relation", 0), ("opposite", 0), ("small words", 2)])
def test_guards_refuse_english_near_twins_all_but_a_few(kind: str, most: int) -> None:
    passed = [pair for pair in twins() if pair.kind == kind and first_refusal(pair.a, pair.b) is None]

    assert len(passed) <= most  # "Who was he looking for?", "Who was looking for him?"


EVERY_TEXT = sorted({text for pair in [*PASSED, *(p for pairs in REFUSED.values() for p in pairs)] for text in pair})


@pytest.mark.parametrize("guard", GUARDS)
def test_no_guard_refuses_a_text_itself(guard: str) -> None:
    assert [text for text in EVERY_TEXT if not GUARDS[guard](text, text)] == []


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_is_symmetric(guard: str) -> None:
    rng = random.Random(7)
    pairs = [(rng.choice(EVERY_TEXT), rng.choice(EVERY_TEXT)) for _ in range(1500)]

    assert [(a, b) for a, b in pairs if GUARDS[guard](a, b) != GUARDS[guard](b, a)] == []


AWKWARD = [
    "",
    " ",
    "?",
    "\x00",
    "'",
    "''s",
    "n't",
    '"',
    "`",
    "```",
    "1,",
    ".",
    "-",
    "%",
    "五",
    "万",
    "第",
    "🤗",
    "é" * 50,
    "\ud800",
]


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_reads_anything(guard: str) -> None:
    for text in AWKWARD:
        assert GUARDS[guard](text, text)
        GUARDS[guard](text, "What is a cache?")
        GUARDS[guard]("什么是缓存？", text)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize(
    "piece",
    ["a", "1", "1,", "一", "'", '"', "to ", "A ", "/a", "no ", "turn ", "1 ", "twenty ", "第", "a_", "a-", "A.", "@"],
)
def test_a_long_text_takes_no_longer_than_its_length(guard: str, piece: str) -> None:
    """A pattern that backtracks over all ways to cut a text would not come back within the test's time limit."""
    text = piece * 3000

    assert GUARDS[guard](text, text)


@pytest.mark.parametrize(("a", "b"), [*PASSED[::4], *(pairs[0] for pairs in REFUSED.values())])
def test_near_misses_are_symmetric_and_named(a: str, b: str) -> None:
    assert len(near_misses(a, b)) == len(NEAR_MISSES)
    assert near_misses(a, b) == near_misses(b, a)


def test_a_text_misses_itself_in_nothing() -> None:
    for text in EVERY_TEXT:
        differences = dict(zip(NEAR_MISSES, near_misses(text, text), strict=True))
        assert not any(value for name, value in differences.items() if not name.startswith("shared_")), text


def test_near_misses_say_what_differs() -> None:
    found = near_misses("How do I turn on dark mode in Windows 10?", "How do I turn off dark mode in Windows 11?")
    differences = dict(zip(NEAR_MISSES, found, strict=True))

    assert differences["numbers_unpaired"] == 2
    assert differences["opposites"] == 1
    assert differences["question"] == 0
