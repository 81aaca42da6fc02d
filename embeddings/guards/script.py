"""Are two texts in the same script and language?"""

import re
from functools import lru_cache

from embeddings.text import HAN, latin_words, plain

_SCRIPTS = (
    ("han", re.compile(f"[{HAN}]")),
    ("kana", re.compile("[\u3040-\u30ff]")),
    ("hangul", re.compile("[\uac00-\ud7af]")),
    ("cyrillic", re.compile("[\u0400-\u04ff]")),
    ("greek", re.compile("[\u0370-\u03ff]")),
    ("arabic", re.compile("[\u0600-\u06ff]")),
    ("hebrew", re.compile("[\u0590-\u05ff]")),
    ("devanagari", re.compile("[\u0900-\u097f]")),
    ("thai", re.compile("[\u0e00-\u0e7f]")),
    ("latin", re.compile("[A-Za-z\u00c0-\u024f]")),
)
_LETTER = re.compile("[A-Za-z]")
_WEIGHTS = {"han": 3, "kana": 9, "hangul": 3}  # a character says more than a letter; any kana makes it Japanese
_FUNCTION_WORDS = {
    "en": "the is are what how of and to in do does for my you why which with a i can when who it",
    "es": "el la los las de que y en un una es como cual por para con del qué cómo cuál mi se",
    "fr": "le la les des de et un une est que qui dans pour du au quelle quel comment je quoi sont",
    "de": "der die das und ist ein eine wie was ich nicht mit von zu den wo warum welche für auf",
    "it": "il lo la gli di che e un una è come per con del della qual cosa sono perché quale",
    "pt": "o a os as de que e um uma é como para com do da qual por são não meu",
}
_SPEAKS: dict[str, list[str]] = {}  # word -> the languages it is of
for _name, _listed in _FUNCTION_WORDS.items():
    for _word in frozenset(_listed.split()):
        _SPEAKS.setdefault(_word, []).append(_name)


def same_script(a: str, b: str) -> bool:
    """Refuse when two texts are written in different scripts, or plainly in different languages."""
    if _script(a) != _script(b):
        return False
    one, other = _language(a), _language(b)
    return not one or not other or one == other


@lru_cache(maxsize=1024)
def _script(text: str) -> str:
    if text.isascii():
        return "latin" if _LETTER.search(text) else ""
    folded = plain(text)
    counts = {name: len(pattern.findall(folded)) * _WEIGHTS.get(name, 1) for name, pattern in _SCRIPTS}
    most = max(counts, key=lambda name: counts[name])
    if most == "latin" and counts["han"] and not counts["kana"] and _spoken(text) < 2:
        return "han"  # names of code and products in a Chinese question
    return most if counts[most] else ""


def _spoken(text: str) -> int:
    """How many words of speech a Latin text holds, in the language that it holds most of."""
    return _by_language(text)[0][0]


@lru_cache(maxsize=1024)
def _language(text: str) -> str:
    """The language of a Latin text, by its function words; empty when they do not say."""
    (most, name), (next_most, _) = _by_language(text)[:2]
    return name if most >= 2 and most > next_most + 1 else ""


def _by_language(text: str) -> list[tuple[int, str]]:
    """How many of its words are of each language, the most first."""
    counts = dict.fromkeys(_FUNCTION_WORDS, 0)
    for word in latin_words(text):
        if word in _SPEAKS:
            for name in _SPEAKS[word]:
                counts[name] += 1
    return sorted(zip(counts.values(), counts, strict=True), reverse=True)
