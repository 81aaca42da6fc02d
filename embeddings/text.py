"""How guards read a text: one spelling for the same character, words in lower case, contractions written out."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from embeddings.hanzi import simplified

HAN = "\u3400-\u4dbf\u4e00-\u9fff"

_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "−": "-"})
_POWERS = str.maketrans({"²": "^2", "³": "^3"})  # compatibility form would make 10² a 102
_WORD = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:\+\+|#)?(?:'[^\W_{HAN}]+)?")
_HAN = re.compile(f"[{HAN}]")
_LETTERS = re.compile("[a-z]+")
_WHOLE = {
    "can't": "can not",
    "cant": "can not",
    "cannot": "can not",
    "won't": "will not",
    "wont": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "whats": "what is",
    "hows": "how is",
    "wheres": "where is",
    "whos": "who is",
    "im": "i am",
    "ive": "i have",
    "it's": "it is",
    "let's": "let us",
}
_BARE_NOT = re.compile(r"(do|does|did|is|are|was|were|has|have|had|would|could|should|must|need)n't?|\bnone\b")
_ENDINGS = (("n't", " not"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'m", " am"), ("'d", " would"))
_HAVE_IS = {"what", "who", "where", "when", "how", "why", "that", "there", "here", "he", "she"}


def word_set(listed: str) -> frozenset[str]:
    """A set of words, written in one string."""
    return frozenset(listed.split())


# Words that a question has or has not without asking anything else.
CARRIES_NO_MEANING = word_set(
    "a an the is are was were be been being am do does did what which who whom whose when where why how that"
    " this these those it its i me my we our you your he she they them their his her there here can could would"
    " should will shall may might must have has had please tell explain describe give show know want need like"
    " in on at with about so just us if then than to from into by as over before after minus per of for and or"
    " vs versus nor not no but also s t exactly actually really between difference"
)


def plain(text: str) -> str:
    """One spelling for equal characters: full-width digits, curly quotes and dashes become ASCII, traditional Chinese
    characters simplified. Case is kept."""
    if text.isascii():
        return text
    return simplified(unicodedata.normalize("NFKC", text.translate(_POWERS)).translate(_QUOTES))


# The text asked is compared with up to eight candidates by ten guards, and the same candidates come again: what is read
# of a text is worth remembering. A thousand texts take about ten megabytes in all such memories.
@lru_cache(maxsize=1024)
def words(text: str) -> tuple[str, ...]:
    """The words in lower case, contractions written out; a run of Chinese characters is one word."""
    parts: list[str] = []
    for word in _WORD.findall(plain(text).lower()):
        if word[-2:] == "nt" or "'" in word or word in _WHOLE:
            parts += written_out(word)
        else:
            parts.append(word)
    return tuple(parts)


def written_out(word: str) -> list[str]:
    """A word without its contraction: "what's" is what, is."""
    if (whole := _WHOLE.get(word)) is not None:
        return whole.split()
    if "'" not in word:
        return [word[:-2], "not"] if word.endswith("nt") and _BARE_NOT.fullmatch(word[:-1] + "'t") else [word]
    if word.endswith("'s"):
        stem = word[:-2]
        return [stem, "is"] if stem in _HAVE_IS else [stem]  # otherwise most often a possessive
    for ending, full in _ENDINGS:
        if word.endswith(ending):
            return (word.removesuffix(ending) + full).split()
    return word.split("'")


def counted(parts: Sequence[str]) -> frozenset[tuple[str, int] | str]:
    """A bag of words as a set: the second "the" is ("the", 2). Two bags share as many as their sets do."""
    once = frozenset(parts)
    if len(once) == len(parts):
        return once
    times: dict[str, int] = {}
    again: list[tuple[str, int]] = []
    for part in parts:
        if part in times:
            times[part] += 1
            again.append((part, times[part]))
        else:
            times[part] = 1
    return once.union(again)


@lru_cache(maxsize=1024)
def latin_words(text: str) -> tuple[str, ...]:
    """The words that are not Chinese."""
    if text.isascii():
        return words(text)
    return tuple(word for word in words(text) if not is_han(word))


@lru_cache(maxsize=1024)
def spoken(text: str) -> str:
    """The words that are not Chinese, with one space between them."""
    return " ".join(latin_words(text))


@lru_cache(maxsize=1024)
def letter_runs(text: str) -> frozenset[str]:
    """The runs of ASCII letters of a text, in lower case: whoever looks for a word need not look where it is not."""
    return frozenset(_LETTERS.findall(text.lower()))


def has_any(text: str, parts: Iterable[str]) -> bool:
    """Whether one of the parts stands in a text."""
    for part in parts:  # noqa: SIM110 - a generator costs a call for every part, and is made for every text
        if part in text:
            return True
    return False


def han(text: str) -> str:
    """The Chinese characters alone, in order."""
    return "" if text.isascii() else "".join([word for word in words(text) if is_han(word)])


def has_han(text: str) -> bool:
    return _HAN.search(text) is not None


def is_han(word: str) -> bool:
    return "\u3400" <= word[0] <= "\u9fff"


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Cut English endings roughly: the same cut on both sides is all that is asked."""
    for ending, least in (("ies", 3), ("ing", 4), ("ed", 4), ("es", 4), ("s", 3), ("e", 4)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith("ss"):
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
