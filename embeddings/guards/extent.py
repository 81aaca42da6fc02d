"""Does one text say more than the other?"""

from collections import Counter

from embeddings.text import CARRIES_NO_MEANING, is_han, stem, words

_MAX_RATIO = 2.5
_SLACK_WORDS = 6
_LONG_WORDS = 20  # from here on a vector hardly moves when a sentence is added
_ADDED_WORDS = 3


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
    return more < _ADDED_WORDS or fewer * 4 > more


def _length(text: str) -> float:
    """Words; two Chinese characters count as one."""
    return sum(len(word) / 2 if is_han(word) else 1.0 for word in words(text))


def _content(text: str) -> Counter[str]:
    """What carries meaning: stems of English words, single Chinese characters."""
    found: Counter[str] = Counter()
    for word in words(text):
        if is_han(word):
            found.update(word)
        elif word not in CARRIES_NO_MEANING:
            found[stem(word)] += 1
    return found
