"""Does one text say more than the other?"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from embeddings.text import CARRIES_NO_MEANING, is_han, stem, words

_MAX_RATIO = 2.5
_SLACK_WORDS = 6
_LONG_WORDS = 20  # from here on a vector hardly moves when a sentence is added
_ADDED_WORDS = 3
_PASSAGE_WORDS = 25
_PASSAGE_SHARE = 0.6
_REMAINDER_SHARE = 0.34
_OWN_WORDS = 3
_OWN_SHARE = 0.34
_SAID_SHARE = 0.45  # function words count here: a shared frame ("how can I ... my ...") makes two texts alike
_LITERAL = re.compile(r"[\"`/_《「]")


def similar_length(a: str, b: str) -> bool:
    """Refuse when one text is more than 2.5 times as long as the other, beyond a few polite words."""
    short, long = sorted((_length(a), _length(b)))
    return long <= _MAX_RATIO * short + _SLACK_WORDS


def nothing_added(a: str, b: str) -> bool:
    """Refuse when a long text is the other one and a condition more: "... Later she buys another set of pots."."""
    if max(_length(a), _length(b)) < _LONG_WORDS:
        return True
    in_a, in_b = _content(a), _content(b)
    fewer, more = sorted(((in_a - in_b).total(), (in_b - in_a).total()))
    return more < _ADDED_WORDS or fewer * 8 > more


def same_remainder(a: str, b: str) -> bool:
    """Refuse when two long texts are one passage with different questions: "... Summarise it.", "... Who wrote it?"."""
    one, other = words(a), words(b)
    if min(len(one), len(other)) < _PASSAGE_WORDS or one == other:
        return True
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    if start + end < _PASSAGE_SHARE * min(len(one), len(other)):
        return True
    left_a, left_b = ({stem(word) for word in row[start : len(row) - end]} - CARRIES_NO_MEANING for row in (one, other))
    if not left_a or not left_b:
        return len(left_a | left_b) < 2
    return len(left_a & left_b) >= _REMAINDER_SHARE * min(len(left_a), len(left_b))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words two rows begin with in common."""
    return next((n for n, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def same_words(a: str, b: str) -> bool:
    """Whether two texts hold the same words that carry meaning, as often."""
    return _content(a) == _content(b)


def told_otherwise(a: str, b: str) -> bool:
    """Whether two texts use words of their own: a rule about one word that differs has nothing to say of them."""
    (one, stems_a), (other, stems_b) = _own(a), _own(b)
    fewer = min(len(one), len(other))
    if fewer < _OWN_WORDS or len(one & other) > _OWN_SHARE * fewer or _LITERAL.search(a + b):
        return False
    return len(stems_a & stems_b) <= _SAID_SHARE * min(len(stems_a), len(stems_b))


@lru_cache(maxsize=1024)
def _own(text: str) -> tuple[set[str], set[str]]:
    """What carries meaning and is no number, and the stems of all words."""
    return {word for word in _content(text) if not word.isdigit()}, {stem(word) for word in words(text)}


@lru_cache(maxsize=1024)
def _length(text: str) -> float:
    """Words; two Chinese characters count as one."""
    said = words(text)
    if text.isascii():
        return float(len(said))
    return sum([len(word) / 2 if is_han(word) else 1.0 for word in said])


def _content(text: str) -> Counter[str]:
    """What carries meaning: stems of English words, single Chinese characters."""
    found: Counter[str] = Counter()
    for word in words(text):
        if is_han(word):
            found.update(word)
        elif word not in CARRIES_NO_MEANING:
            found[stem(word)] += 1
    return found
