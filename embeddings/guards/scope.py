"""Small words that change what is asked: only, else, again; must and can; is and was; before and after one thing.

They carry no content, so vectors hardly see them. Only said of two texts whose other words are nearly the same.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from embeddings.text import CARRIES_NO_MEANING, has_any, latin_words, stem, word_set
from embeddings.text import spoken as as_spoken

_NARROWS = word_set("only solely merely exclusively")
_AS_NARROW = word_set("just exactly single sole alone one 1 unique no other never without limited")
_ALMOST = word_set("nearly almost barely hardly scarcely")
_NOT_QUITE = word_set("about around approximately roughly close")
_ELSE = re.compile(
    r"\b(?:who|what|where|how|anything|anyone|somebody|someone|something|anywhere|when) else\b|\bother than\b"
)
_ALSO_ELSE = re.compile(r"\b(?:other|others|another|besides|alternative|alternatives|different|additional|more)\b")
_AGAIN = re.compile(r"\b(?:once )?again\b|\banew\b")
_ALSO_AGAIN = re.compile(r"\b(?:re\w{3,}|another|second|twice|once more|back|next|new)\b")
_HABIT = re.compile(r"\b(?<!be )(?<!is )(?<!are )(?<!was )(?<!were )(?<!get )used to (?=\w)")
_OBLIGES = re.compile(r"\b(?:must|(?:have|has|had) to|(?:is|are|am) (?:required|obliged|obligated) to)\b")
_PERMITS = re.compile(
    r"\b(?<!how )(?:can|may|(?:is|are|am) (?:allowed|able|permitted) to)\b(?! (?:you|not|we)\b)(?! \d)"
)

# Two of these before the same word: "before the war", "during the war".
_WHEN = {
    "before": "before",
    "prior": "before",
    "after": "after",
    "following": "after",
    "during": "during",
    "throughout": "during",
    "while": "during",
    "until": "until",
    "till": "until",
    "by": "by",
    "since": "since",
    "with": "with",
    "without": "without",
    "against": "against",
}
_APART = frozenset(
    frozenset(pair.split("/"))
    for pair in word_set(
        "before/after before/during before/since before/with after/during after/until after/by after/before after/with"
        " until/since until/during since/by with/without with/against"
    )
)
_BEFORE_WHAT = re.compile(
    rf"\b({'|'.join(_WHEN)}) (?:the |an? |my |your |this |that |next |last )*(?!(?:i|you|he|she|it|we|they)\b)(\w+)"
)
_MOST_APART = 1  # words that either text has alone
_SMALL = _NARROWS | _ALMOST | word_set("else again used")
_WITHOUT_CONTENT = CARRIES_NO_MEANING | _SMALL
_ALONG = re.compile(
    r"\b([a-z]{2,}) (?=(over|through|up|down|off|out|away|after|against|without|along|apart|around|forward|back)\b)"
)
_PAST = word_set("was were did")
_PRESENT = word_set("is are am do does will")
_STRANDED = word_set("with for of to from about by on at after over through against without into")


def same_scope(a: str, b: str) -> bool:
    """Refuse when a small word narrows, bounds or binds what one text asks, and nothing in the other does."""
    if as_spoken(a) == as_spoken(b) or not _are_alike(_content(a), _content(b)):
        return True
    one, other = _read(a), _read(b)
    return not (
        _bars(one, other)
        or _bars(other, one)
        or any(
            frozenset((left, right)) in _APART
            for thing, lefts in one.when.items()
            for left in lefts - other.when.get(thing, set())
            for right in other.when.get(thing, set()) - lefts
        )
        or any(not particles & other.along.get(verb, particles) for verb, particles in one.along.items())
        or ({one.tense, other.tense} == {"past", "present"} and _content(a) == _content(b))
        or (one.last != other.last and {one.last, other.last} <= _STRANDED)
    )


# What a text says, and what it has something for, though in other words.
_SAYS = {
    "narrow": re.compile(rf"\b(?:{'|'.join(sorted(_NARROWS))})\b"),
    "almost": re.compile(rf"\b(?:{'|'.join(sorted(_ALMOST))})\b"),
    "else": _ELSE,
    "again": _AGAIN,
    "habit": _HABIT,
}
# Where none of these stands the pattern does not fit.
_CUES: dict[str, Iterable[str]] = {
    "narrow": _NARROWS,
    "almost": _ALMOST,
    "else": ("else", "other than"),
    "again": ("again", "anew"),
    "habit": ("used to",),
}
_MUST = ("must", "have to", "has to", "had to", "required", "oblig")
_MAY = ("can", "may", "allowed", "able", "permitted")
_GRANTS = {
    "narrow": re.compile(rf"\b(?:{'|'.join(sorted(_NARROWS | _AS_NARROW))})\b"),
    "almost": re.compile(rf"\b(?:{'|'.join(sorted(_ALMOST | _NOT_QUITE))})\b"),
    "else": re.compile(rf"{_ELSE.pattern}|{_ALSO_ELSE.pattern}"),
    "again": re.compile(rf"{_AGAIN.pattern}|{_ALSO_AGAIN.pattern}"),
    "habit": re.compile(rf"{_HABIT.pattern}|^(?!.*\bused\b)"),
}


class _Small:
    """The small words of a text."""

    def __init__(self, said: str) -> None:
        spoken = frozenset(said.split())
        self.last = said.rsplit(" ", 1)[-1]
        self.says = {name for name, pattern in _SAYS.items() if has_any(said, _CUES[name]) and pattern.search(said)}
        self.grants = {name for name, pattern in _GRANTS.items() if pattern.search(said)}
        self.binds = {
            name
            for name, pattern, cues in (("obliges", _OBLIGES, _MUST), ("permits", _PERMITS, _MAY))
            if has_any(said, cues) and pattern.search(said)
        }
        past, present = bool(spoken & _PAST), bool(spoken & _PRESENT)
        self.tense = "" if past == present else "past" if past else "present"
        self.along: dict[str, set[str]] = {}
        for verb, particle in _ALONG.findall(said):
            self.along.setdefault(stem(verb), set()).add(particle)
        self.when: dict[str, set[str]] = {}
        for word, thing in _BEFORE_WHAT.findall(said) if not spoken.isdisjoint(_WHEN) else ():
            self.when.setdefault(thing, set()).add(_WHEN[word])


@lru_cache(maxsize=1024)
def _read(text: str) -> _Small:
    return _Small(as_spoken(text))


@lru_cache(maxsize=1024)
def _content(text: str) -> set[str]:
    return {stem(word) for word in latin_words(text) if word not in _WITHOUT_CONTENT}


def _are_alike(one: set[str], other: set[str]) -> bool:
    return len(one - other) <= _MOST_APART and len(other - one) <= _MOST_APART


def _bars(one: _Small, other: _Small) -> bool:
    """Whether `one` holds a word that nothing in `other` stands for."""
    return bool(one.says - other.grants) or ("obliges" in one.binds and other.binds == {"permits"})
