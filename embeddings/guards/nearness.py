"""How far two texts are from being refused: numbers for a verifier, where a guard only says yes or no.

One float each, in the fixed order of `NEAR_MISSES`, which only ever grows at its end; 0 always means "nothing differs"
but for the `shared_` ones, which count what both texts hold. Symmetric in the two texts, as the guards are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from embeddings.guards.antonyms import num_contrasts, sides
from embeddings.guards.form import wishes
from embeddings.guards.names import num_missing, num_names
from embeddings.guards.negation import denial
from embeddings.guards.numbers import num_unpaired
from embeddings.guards.question import asked
from embeddings.known import Known
from embeddings.repairs import corrected
from embeddings.text import CARRIES_NO_MEANING, counted, is_han, stem, words

NEAR_MISSES = (
    "numbers_unpaired",  # quantities, sure or not, that find no partner
    "shared_numbers",
    "names_missing",  # names of one text that the other does not have
    "shared_names",
    "denial",  # 1 when one text is negated and the other is not, 0.5 when softly ("fails")
    "opposites",  # rows of the antonym table that the texts stand on different sides of
    "question",  # 1 when they ask for different kinds of thing, 0.5 when only one says what kind
    "form",  # wishes about the answer's form that only one text has
    "order",  # share of the common content words that do not stand in the same order
    "unshared_fewer",  # content words that the other text does not have: the text with fewer of them
    "unshared_more",  # and the text with more
    "shared_words",  # content words in both, of all that are in either
    "unshared_function_words",  # function words in one text alone, of all that are in either
    "length",  # logarithm of long / short
    "first_word",  # 1 when the first words differ
    "last_word",  # 1 when the last content words differ
)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a text says, as far as it is compared here."""

    content: tuple[str, ...]
    bag: frozenset[tuple[str, int] | str]
    first: tuple[str, ...]
    function_words: frozenset[str]
    denial: tuple[bool, bool]
    sides: frozenset[tuple[int, int]]
    asked: frozenset[str]
    wishes: frozenset[str]
    num_names: int


def _read(text: str) -> _Told:
    content, said = _content(text), words(text)
    return _Told(
        content,
        counted(content),
        said[:1],
        CARRIES_NO_MEANING.intersection(said),
        denial(text),
        sides(text),
        frozenset(asked(text)),
        wishes(text),
        num_names(text),
    )


_TOLD = Known(_read, 2048)


def told(text: str) -> list[Any]:
    """What is read of a text, as JSON can have it; `tell` takes it back."""
    one = _TOLD.of(corrected(text))
    sets = (sorted(one.function_words), sorted(one.sides), sorted(one.asked), sorted(one.wishes))
    return [one.content, one.first, one.denial, one.num_names, *sets]


def tell(text: str, parts: Sequence[Any]) -> None:
    """Let what was read of a text be known again."""
    content, first, (strong, weak), count, functions, stands, asks, wants = parts
    one = _Told(
        tuple(content),
        counted(content),
        tuple(first),
        frozenset(functions),
        (strong, weak),
        frozenset((row, side) for row, side in stands),
        frozenset(asks),
        frozenset(wants),
        count,
    )
    _TOLD.put(corrected(text), one)


def near_misses(a: str, b: str) -> tuple[float, ...]:
    """The differences of two texts by kind, in the order of `NEAR_MISSES`."""
    a, b = corrected(a), corrected(b)
    one, other = _TOLD.of(a), _TOLD.of(b)
    in_a, in_b = len(one.content), len(other.content)
    shared = len(one.bag & other.bag)
    either = in_a + in_b - shared
    fewer, more = (in_a - shared, in_b - shared) if in_a <= in_b else (in_b - shared, in_a - shared)
    unpaired, paired = num_unpaired(a, b)
    return (
        float(unpaired),
        float(paired),
        float(num_missing(a, b)) if one.num_names or other.num_names else 0.0,
        float(min(one.num_names, other.num_names)),
        _denial(one, other),
        float(num_contrasts(one.sides, other.sides)),
        _question(one, other),
        float(len(one.wishes ^ other.wishes)),
        1.0 - longest_common(one.content, other.content) / shared if shared else 0.0,
        float(fewer),
        float(more),
        shared / either if either else 1.0,
        _function_words(one, other),
        math.log((max(in_a, in_b) + 1) / (min(in_a, in_b) + 1)),
        float(one.first != other.first),
        float(one.content[-1:] != other.content[-1:]),
    )


@lru_cache(maxsize=1024)
def _content(text: str) -> tuple[str, ...]:
    """Stems of the words that carry meaning, in order; a Chinese character is a word."""
    found: list[str] = []
    for word in words(text)[:_MOST_WORDS]:
        if is_han(word):
            found.extend(word)
        elif word not in CARRIES_NO_MEANING:
            found.append(stem(word))
    return tuple(found[:_MOST_WORDS])


_MOST_WORDS = 200  # the order of more is not worth its square in time


def _denial(one: _Told, other: _Told) -> float:
    (strong, weak), (strong_other, weak_other) = one.denial, other.denial
    if strong != strong_other:
        return 1.0
    return 0.5 if weak != weak_other else 0.0


def _question(one: _Told, other: _Told) -> float:
    if one.asked & other.asked or not (one.asked or other.asked):
        return 0.0
    return 1.0 if one.asked and other.asked else 0.5


def _function_words(one: _Told, other: _Told) -> float:
    either = len(one.function_words | other.function_words)
    return len(one.function_words ^ other.function_words) / either if either else 0.0


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004): a row of the table is one integer."""
    places: dict[str, int] = {}
    for n, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << n
    full = row = (1 << len(b)) - 1
    for word in a:
        match = row & places.get(word, 0)
        row = (row + match) | (row - match)
    return len(b) - (row & full).bit_count()
