"""Does one text narrow what the other names whole: the wife, the former wife; rice, wild rice; father, stepfather?

Such a word carries little of a vector. Two rules: of words that always make another thing of what they stand before
(former, first, vice, fake, vegan) none may be in one text alone; any other word that is all that one text has more
makes another thing where it stands right before a word of both, and both have the same before it.
"""

import re
from collections import Counter
from functools import lru_cache

from embeddings.guards.units import UNITS
from embeddings.text import CARRIES_NO_MEANING, counted, has_han, latin_words, stem, word_set

# Each line is one meaning: a text that has any word of it has it.
_CLASSES = """
former ex previous past old prior late ancient used
first original initial earliest founding founder 1st beginning
last final latest newest recent 1st ending
next upcoming future following coming
acting interim temporary provisional
deputy vice assistant junior sub associate
honorary
half partial
step foster adoptive adopted
grand great
fake toy artificial pseudo imitation counterfeit replica mock plastic
wild feral
decaf decaffeinated diet vegan vegetarian gluten dairy sugar keto
non anti unpaid
frozen thawed
"""
_CLASS = {word: line.split()[0] for line in reversed(_CLASSES.strip().splitlines()) for word in line.split()}
_IN_CLASS = {line.split()[0]: frozenset(line.split()) for line in _CLASSES.strip().splitlines()}
_ALWAYS = word_set(
    "former ex previous original initial last latest next upcoming future acting interim deputy vice assistant honorary"
    " step foster pseudo fake toy artificial wild decaf diet vegan vegetarian non anti frozen first"
)
# With them or without, the same is asked: "the best way", "the current rate", "the city Aberdeen".
_MEANS_LITTLE = word_set(
    "best good right proper correct exact actual current present certain specific particular common typical normal"
    " usual general overall total main different various any all each every some other own many much more most few"
    " single very quite pretty really ever still even new available given following same city year country state"
    " town river mount president king queen mr mrs dr age list type kind sort name corresponding accompanying"
    " respective get got getting using use say make makes made reason maybe sorry quick quickly easy easily simple"
    " simply whole entire real properly correctly basically currently help helps try trying start begin go account"
    " user homemade funny finally"
)
_DETERMINERS = word_set("the a an my your his her its our their this that these those")
_COMPOUNDS = ("step", "grand", "great", "half", "vice", "semi", "super", "fore", "pseudo")
_COMPOUND = re.compile(rf"(?:{'|'.join(_COMPOUNDS)})(\w{{3,}})")
_COMPOUND_BEGINS = frozenset(name[:4] for name in _COMPOUNDS)
_MOST_APART = 2  # content words that either text has alone


def same_modifiers(a: str, b: str) -> bool:
    """Refuse when one text alone narrows what both name: former, original, vice, wild, step-."""
    one, other = _read(a), _read(b)
    if one.said == other.said:
        return True
    more, less = len(one.bag - other.bag), len(other.bag - one.bag)
    return not (
        (more <= _MOST_APART and less < _MOST_APART and _narrows(one, other, is_all=more == 1 and not less))
        or (less <= _MOST_APART and more < _MOST_APART and _narrows(other, one, is_all=less == 1 and not more))
        or (one.may_have_compounds and _is_compound(one, other))
        or (other.may_have_compounds and _is_compound(other, one))
    )


class _Row:
    """The words of a text, and what stands before what."""

    def __init__(self, said: tuple[str, ...]) -> None:
        self.said = said
        self.stems = [stem(word) for word in said if word not in CARRIES_NO_MEANING]
        self.bag = counted(self.stems)
        self.may_have_compounds = not _COMPOUND_BEGINS.isdisjoint([word[:4] for word in self.stems])

    def has_of_class(self, name: str) -> bool:
        return any(_CLASS[word] == name for word in self.said if word in _CLASS)

    def led(self) -> set[tuple[str, str]]:
        """Every word, and what stands before it."""
        return {(stem(word), _before(self.said, n)) for n, word in enumerate(self.said)}


@lru_cache(maxsize=1024)
def _read(text: str) -> _Row:
    return _Row(() if has_han(text) else latin_words(text))


def _before(said: tuple[str, ...], n: int) -> str:
    before = said[n - 1] if n else ""
    return "the" if before in _DETERMINERS else before


def _narrows(more: _Row, less: _Row, *, is_all: bool) -> bool:
    """Whether `more` holds a word that makes another thing of what `less` names too. `is_all`: one word is all that it
    has more."""
    said, named = more.said, frozenset(less.stems)
    for n in range(len(said) - 1):
        word = said[n]
        if word in CARRIES_NO_MEANING or said[n + 1] in CARRIES_NO_MEANING or stem(word) in named:
            continue
        thing = stem(said[n + 1])
        is_led = thing in named and word.isalpha() and (thing, _before(said, n)) in less.led()
        if is_led and _makes_another(word, less, is_all=is_all):
            return True
    return False


def _makes_another(word: str, less: _Row, *, is_all: bool) -> bool:
    if word in _ALWAYS:
        return not less.has_of_class(_CLASS[word])
    return is_all and word not in _MEANS_LITTLE and word not in UNITS  # 5 pound, £5


def _is_compound(more: _Row, less: _Row) -> bool:
    """Stepfather, where the other text has the father."""
    in_more, in_less = Counter(more.stems), Counter(less.stems)
    found = (_COMPOUND.fullmatch(word) for word in in_more - in_less)
    return any(match is not None and in_less[match[1]] > in_more[match[1]] for match in found)
