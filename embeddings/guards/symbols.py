"""Do two texts hold the same emoji and symbols, the same arithmetic, the same bounds?"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from embeddings.guards.numerals import UNSURE, in_digits
from embeddings.text import has_any, plain, spoken, words

# The other guards read these with their numbers: 20 °C, €5, 3 × 4.
_READ_ELSEWHERE = frozenset("°×÷$€£¥₹")
_PICTURES = 0x1F300
_ENOUGH_WORDS = 6
_SKIN = range(0x1F3FB, 0x1F400)

_DATE = re.compile(r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b")
_OPERAND = r"\({0,4}(?:\d+(?:\.\d+)?[a-z]?|[a-z])\){0,4}"
_EXPRESSION = re.compile(rf"(?<![\w.]){_OPERAND}(?:\s?(?:\*\*|[<>!=]=|[-+*/^<>=])\s?{_OPERAND})+(?!\w)")
# What stands in code and hardly in speech: &&, ==, foo(), foo[].
_OPERATOR = re.compile(r"&&|\|\||[!=]==?|<=>|=>|->|<<|>>|::|\?\?|\(\)|\[\]|(?<![^\s`'\"])[&|^~!%](?![^\s`'\"?.,])")
_SAME = str.maketrans({"×": "*", "÷": "/"})

_MORE = "more|greater|higher|longer|older|larger|bigger|later|taller|heavier|faster"
_LESS = "less|fewer|lower|shorter|younger|smaller|earlier|lighter|cheaper|slower"
_BOUNDS = (
    ("at least", re.compile(r"\bat least\b|\bno (?:less|fewer) than\b|\bor more\b|\bminimum of\b")),
    ("at most", re.compile(r"\bat most\b|\bno more than\b|\bor (?:less|fewer)\b|\bmaximum of\b|\bup to(?= \d)")),
    ("more", re.compile(rf"(?<!no )\b(?:{_MORE}) (?:\w+ )?than(?= (?:an? single )?\d)|\b(?:over|above|after)(?= \d)")),
    ("less", re.compile(rf"(?<!no )\b(?:{_LESS}) (?:\w+ )?than(?= \d)|\b(?:under|below|before)(?= \d)")),
    ("since", re.compile(r"\bsince(?= \d)")),
    ("until", re.compile(r"\b(?:until|till)(?= \d)")),
    ("about", re.compile(r"\b(?:about|around|approximately|roughly|nearly|almost)(?= \d)")),
)

_WITHOUT_NUMBER = _BOUNDS[:2]  # the others stand before one
_DIGIT = re.compile(r"\d")


def same_symbols(a: str, b: str) -> bool:
    """Refuse when an emoji or a symbol that is no punctuation stands in one text more often than in the other."""
    if _cased(a, b) or _cased(b, a):
        return False
    found_a, found_b = _symbols(a), _symbols(b)
    if found_a == found_b:
        return True
    in_a, in_b = Counter(found_a), Counter(found_b)
    return in_a == in_b or (_is_decoration(in_a - in_b, b) and _is_decoration(in_b - in_a, a))


def _is_decoration(symbols: Counter[str], other: str) -> bool:
    """Whether pictures that the other text lacks say nothing: it has none at all, and words enough without."""
    if not symbols:
        return True
    are_pictures = all(ord(symbol[0]) >= _PICTURES for symbol in symbols)
    return are_pictures and not any(ord(char) >= _PICTURES for char in other) and len(words(other)) >= _ENOUGH_WORDS


def same_expressions(a: str, b: str) -> bool:
    """Refuse when both texts hold arithmetic and it reads differently: 3x+5, 5x+3. One side alone is no proof."""
    in_a, in_b = _expressions(a), _expressions(b)
    code_a, code_b = _operators(a), _operators(b)
    return (not in_a or not in_b or in_a == in_b) and (not code_a or not code_b or code_a == code_b)


def same_bounds(a: str, b: str) -> bool:
    """Refuse when one text says at least 5 and the other at most, about, more than or just 5."""
    return _bounds(a) == _bounds(b)


# Words that are others in capitals: the US and us, polish and Polish.
_CAPITALS = re.compile(r"\b(?:US|IT|WHO|AIDS|Polish)\b")


@lru_cache(maxsize=1024)
def _capitals(text: str) -> list[str]:
    return _CAPITALS.findall(text)


def _cased(a: str, b: str) -> bool:
    """Whether `a` has such a word where `b`, which knows capitals, has the small one."""
    found = _capitals(a)
    if not found or a.isupper() or b.isupper() or b.islower():
        return False
    return any(
        word not in b and re.search(rf"\b{word.lower()}\b", b) and not re.search(rf"\b{word.lower()}\b", a)
        for word in found
    )


# *67 is not #67, 3.8+ not 3.8, > not >>, /tmp/* not /tmp/, 5 mW not 5 MW, 10 Mb not 10 MB.
_AROUND = re.compile(
    r"\*(?=\d)|(?<=\d)\+(?![\w+])|(?<!\S)[<>]{1,2}(?!\S)|/\*|(?:(?<=\d)|(?<=\d ))(?:mW|MW|Mb|Mm)(?!\w)"
)
# Hepatitis A, gate A 12, room 12 a: a letter, and no article.
_LETTER = re.compile(r"(?<=[a-z\d] )A(?![\w'])|(?<=\d )a(?=[?.!,]|$)")

# \\d+ is not \\w+, ++i is not i++, -r is not -R.
_ESCAPE = re.compile(r"\\\w|(?<![\w+])\+\+\w+|(?<!\w)\w{1,40}\+\+(?![\w+])|(?<![\w-])--\w+|(?<!\S)-[A-Za-z](?!\w)|//")


@lru_cache(maxsize=1024)
def _symbols(text: str) -> list[str]:
    return list(_found(text))


def _found(text: str) -> Iterator[str]:
    has_digits = _DIGIT.search(text) is not None
    if "://" not in text:
        if has_any(text, "\\+-/"):
            yield from _ESCAPE.findall(text)
        if has_digits or has_any(text, "*+<>"):
            yield from _AROUND.findall(text)
    if (has_digits or " A" in text) and not text.istitle():
        yield from (letter.upper() for letter in _LETTER.findall(text))
    if text.isascii():
        return
    for char in plain(text):
        if char.isascii() or char in _READ_ELSEWHERE:
            continue
        if unicodedata.category(char) in ("So", "Sm", "Sc") or ord(char) in _SKIN:
            yield char


@lru_cache(maxsize=1024)
def _operators(text: str) -> set[str]:
    said = plain(text)
    return set(_OPERATOR.findall(said)) if has_any(said, "&|=<>:()[]^~!%") or "??" in said else set()


@lru_cache(maxsize=1024)
def _expressions(text: str) -> list[str]:
    said = plain(text)
    if not has_any(said, "+-*/^<>=!×÷"):
        return []
    bare = _DATE.sub(" ", said.lower().translate(_SAME))
    return ["".join(match.group().split()).replace("**", "^") for match in _EXPRESSION.finditer(bare)]


@lru_cache(maxsize=1024)
def _bounds(text: str) -> set[str]:
    spelled = in_digits(text).replace(UNSURE, "")
    said, bounds = spoken(spelled), _BOUNDS if _DIGIT.search(spelled) else _WITHOUT_NUMBER
    return {name for name, pattern in bounds if pattern.search(said)}
