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
from embeddings.guards.names import names_of, num_missing
from embeddings.guards.negation import denial
from embeddings.guards.numbers import Quantity, num_unpaired, quantities
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


@dataclass(slots=True)
class Told:
    """What a text says, as far as it is compared here; never changed."""

    said: str  # without what it takes back
    content: tuple[str, ...]
    bag: frozenset[tuple[str, int] | str]
    first: tuple[str, ...]
    function_words: frozenset[str]
    denial: tuple[bool, bool]
    sides: frozenset[tuple[int, int]]
    asked: frozenset[str]
    wishes: frozenset[str]
    names: frozenset[str]
    quantities: tuple[Quantity, ...]


def _read(text: str) -> Told:
    text = corrected(text)
    content, said = _content(text), words(text)
    return Told(
        text,
        content,
        counted(content),
        said[:1],
        CARRIES_NO_MEANING.intersection(said),
        denial(text),
        sides(text),
        frozenset(asked(text)),
        wishes(text),
        names_of(text),
        quantities(text),
    )


_TOLD = Known(_read, 2048)


def told(text: str) -> Told:
    """What is read of a text."""
    return _TOLD.of(text)


def facts_of(one: Told, text: str) -> list[Any]:
    """What is read of `text`, as JSON can have it; `tell` takes it back."""
    said = None if one.said == text else one.said
    sets: list[frozenset[Any]] = [one.function_words, one.sides, one.asked, one.wishes, one.names]
    return [said, one.content, one.first, one.denial, bool(one.quantities), *[sorted(each) for each in sets]]


def tell(text: str, facts: Sequence[Any]) -> Told:
    """Let what was read of a text be known again."""
    said, content, first, (strong, weak), has_quantities, functions, stands, asks, wants, names = facts
    said = text if said is None else said
    one = Told(
        said,
        tuple(content),
        counted(content),
        tuple(first),
        frozenset(functions),
        (strong, weak),
        frozenset([(row, side) for row, side in stands]),
        frozenset(asks),
        frozenset(wants),
        frozenset(names),
        quantities(said) if has_quantities else (),
    )
    return _TOLD.put(text, one)


def near_misses(a: str, b: str) -> tuple[float, ...]:
    """The differences of two texts by kind, in the order of `NEAR_MISSES`."""
    return differences(told(a), told(b))


def differences(one: Told, other: Told) -> tuple[float, ...]:
    """The same of what is known of two texts."""
    in_a, in_b = len(one.content), len(other.content)
    shared = len(one.bag & other.bag)
    either = in_a + in_b - shared
    short, long = (in_a, in_b) if in_a <= in_b else (in_b, in_a)
    unpaired = paired = missing = named = 0
    if one.quantities or other.quantities:
        unpaired, paired = num_unpaired(one.quantities, other.quantities)
    if one.names or other.names:
        missing = num_missing(one.said, one.names, other.said, other.names)
        named = min(len(one.names), len(other.names))
    return (
        float(unpaired),
        float(paired),
        float(missing),
        float(named),
        _denial(one, other),
        float(num_contrasts(one.sides, other.sides)),
        _question(one, other),
        float(len(one.wishes ^ other.wishes)),
        1.0 - longest_common(other.content, one.content) / shared if shared else 0.0,
        float(short - shared),
        float(long - shared),
        shared / either if either else 1.0,
        _function_words(one, other),
        math.log((long + 1) / (short + 1)),
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


def _denial(one: Told, other: Told) -> float:
    if one.denial == other.denial:
        return 0.0
    return 1.0 if one.denial[0] != other.denial[0] else 0.5


def _question(one: Told, other: Told) -> float:
    if one.asked == other.asked or not one.asked.isdisjoint(other.asked):
        return 0.0
    return 1.0 if one.asked and other.asked else 0.5


def _function_words(one: Told, other: Told) -> float:
    """The share that only one has."""
    both = len(one.function_words & other.function_words)
    either = len(one.function_words) + len(other.function_words) - both
    return (either - both) / either if either else 0.0


def longest_common(a: Sequence[str], b: tuple[str, ...]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004): a row of the table is one integer. One `b` after
    the other is looked at beside several `a`."""
    places = _places(b)
    full = row = (1 << len(b)) - 1
    for word in a:
        if word in places:
            match = row & places[word]
            row = (row + match) | (row - match)
    return len(b) - (row & full).bit_count()


@lru_cache(maxsize=16)
def _places(row: tuple[str, ...]) -> dict[str, int]:
    """Where each word stands, as bits."""
    places: dict[str, int] = {}
    for n, word in enumerate(row):
        places[word] = places.get(word, 0) | 1 << n
    return places
