"""Are words that differ only by an accent, or by a capital that makes another word, written the same?"""

import re
import unicodedata
from functools import lru_cache

from embeddings.text import plain, word_set

_WORD = re.compile(r"[^\W\d_]+")
# Spelled both ways in English, of one meaning.
_LOANS = word_set("cafe cafes naive facade cliche cliches decor fiance fiancee puree jalapeno creme brulee deja vu a")
_OTHER_IN_CAPITALS = re.compile(r"(?<=[\w,:;'\"] )['\"]?(turkey|march|china|polish)\b(?! ?\d)", re.IGNORECASE)
_CAMEL = re.compile(r"\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*")


def same_accents(a: str, b: str) -> bool:
    """Refuse when a word of both texts has an accent in only one: pêcher, pécher."""
    if a.isascii() and b.isascii():
        return True
    in_a, in_b = _accented(a), _accented(b)
    return all(in_a[word] == in_b[word] for word in in_a.keys() & in_b.keys() if word not in _LOANS)


def same_capitals(a: str, b: str) -> bool:
    """Refuse when a capital makes another word or name of it: Turkey and turkey, myVar and MyVar."""
    if a == b or a.isupper() or a.istitle() or b.isupper() or b.istitle():
        return True
    for one, other in ((a, b), (b, a)):
        camels = _camels(one)
        if camels and any(_is_other(word, other) for word in camels) and not one.islower() and not other.islower():
            return False
    in_a, in_b = _sisters(a), _sisters(b)
    return [word.lower() for word in in_a] != [word.lower() for word in in_b] or in_a == in_b


@lru_cache(maxsize=1024)
def _camels(text: str) -> list[str]:
    return _CAMEL.findall(text)


@lru_cache(maxsize=1024)
def _sisters(text: str) -> list[str]:
    return _OTHER_IN_CAPITALS.findall(text)


def _is_other(word: str, text: str) -> bool:
    return word not in text and word.lower() in text.lower()


@lru_cache(maxsize=1024)
def _accented(text: str) -> dict[str, frozenset[str]]:
    """The spellings of each word, by the word without its accents."""
    found: dict[str, frozenset[str]] = {}
    for word in _WORD.findall(unicodedata.normalize("NFC", plain(text)).lower()):
        parts = unicodedata.normalize("NFD", word)
        bared = "".join(char for char in parts if unicodedata.category(char) != "Mn")
        found[bared] = found.get(bared, frozenset()) | {word}
    return found
