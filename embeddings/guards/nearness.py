"""How far two texts are from being refused: numbers for a verifier, where a guard only says yes or no.

One float each, in the fixed order of `NEAR_MISSES`, which only ever grows at its end; 0 always means "nothing differs"
but for the `shared_` ones, which count what both texts hold. Symmetric in the two texts, as the guards are.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from embeddings.guards.antonyms import num_opposites
from embeddings.guards.form import wishes
from embeddings.guards.names import num_missing, num_names
from embeddings.guards.negation import denial
from embeddings.guards.numbers import num_unpaired
from embeddings.guards.question import asked
from embeddings.repairs import corrected
from embeddings.text import CARRIES_NO_MEANING, is_han, stem, words

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


def near_misses(a: str, b: str) -> tuple[float, ...]:
    """The differences of two texts by kind, in the order of `NEAR_MISSES`."""
    a, b = corrected(a), corrected(b)
    one, other = _content(a), _content(b)
    in_a, in_b = Counter(one), Counter(other)
    shared, either = (in_a & in_b).total(), (in_a | in_b).total()
    fewer, more = sorted((len(one) - shared, len(other) - shared))
    unpaired, paired = num_unpaired(a, b)
    return (
        float(unpaired),
        float(paired),
        float(num_missing(a, b)),
        float(min(num_names(a), num_names(b))),
        _denial(a, b),
        float(num_opposites(a, b)),
        _question(a, b),
        float(len(wishes(a) ^ wishes(b))),
        1.0 - _longest_common(one, other) / shared if shared else 0.0,
        float(fewer),
        float(more),
        shared / either if either else 1.0,
        _function_words(a, b),
        math.log((max(len(one), len(other)) + 1) / (min(len(one), len(other)) + 1)),
        float(words(a)[:1] != words(b)[:1]),
        float(one[-1:] != other[-1:]),
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


def _denial(a: str, b: str) -> float:
    (strong_a, weak_a), (strong_b, weak_b) = denial(a), denial(b)
    if strong_a != strong_b:
        return 1.0
    return 0.5 if weak_a != weak_b else 0.0


def _question(a: str, b: str) -> float:
    asked_a, asked_b = asked(a), asked(b)
    if asked_a & asked_b or not (asked_a or asked_b):
        return 0.0
    return 1.0 if asked_a and asked_b else 0.5


def _function_words(a: str, b: str) -> float:
    in_a, in_b = (CARRIES_NO_MEANING.intersection(words(text)) for text in (a, b))
    either = len(in_a | in_b)
    return len(in_a ^ in_b) / either if either else 0.0


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    lengths = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for n, other in enumerate(b):
            above = lengths[n + 1]
            lengths[n + 1] = before + 1 if word == other else max(above, lengths[n])
            before = above
    return lengths[-1]
