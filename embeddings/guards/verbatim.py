"""Is what a task is done with, letter by letter, the same? And code, sign by sign?

These read a text as it is written, before anything is taken back or folded.
"""

import re
import unicodedata
from functools import lru_cache

from embeddings.text import HAN, has_any, plain, words

_SPAN = re.compile(r"```(.*?)```|`([^`\n]+)`", re.DOTALL)
_INDENTED = re.compile(r"^[ \t]+\S.*$", re.MULTILINE)
_SQL = re.compile(r"\b(?:SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s).*", re.DOTALL)
_TOKEN = re.compile(rf"[^\s`{HAN}]+")
_SIGN = re.compile(r"[/\\*${}=<>|_();.]")
# and/or, Node.js, U.S., 3.14, $5, 2024/5/6, 3*4, (see above): speech, or read by the guards of numbers.
_SPOKEN = re.compile(
    r"[\w'-]+(?:[/.]+[\w'-]+)*[.…]*|(?=.*\d)(?:\d|[a-zA-Z](?![a-zA-Z])|[-+*/^=<>().,:%$€£])+\w{0,3}"
    r"|https?://\S+|\w{1,20}\(e?s\)|[=<>*]"
)
_PRICE = re.compile(r"\$ ?\d")
_MONEY = re.compile(r"\$|\b(?:dollars?|bucks?|usd)\b|美元|美金|刀", re.IGNORECASE)

_TASK = re.compile(
    r"\b(?:exactly|verbatim|word for word|repeat|spell|translat\w*|convert (?:this |it )?(?:in)?to|lower-?case"
    r"|upper-?case|capitali[sz]e|fix the|correct (?:the|this|my)|correct(?=:)|proofread|punctuat\w+|count|regex\w*"
    r"|how many (?:characters|letters|spaces|words|vowels|syllables|commas))\b"
    r"|原样|逐字|一字不差|重复|拼写|翻译|译成|转换成|转为|大写|小写|改正|纠正|校对|修改|标点|数一数|多少个?(?:字|空格|词)|几个(?:字|空格|词)|正则",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"([^\"]+)\"|(?<!\w)'([^'\n]+)'(?!\w)|「([^」]+)」")
_AFTER_COLON = re.compile(r":\s(.+)|(?<=[^\x00-\x7f]):(.+)|:\n(.+)", re.DOTALL)
_CONFUSED = re.compile(r"\b(?:it'?s|let'?s|you'?re?|your|who'?s|whose|they're|there|their)\b", re.IGNORECASE)


def same_code(a: str, b: str) -> bool:
    """Refuse when code reads differently: its signs, order, case, the whitespace in it, its indentation."""
    if a == b:
        return True
    if a.isupper() or a.istitle() or b.isupper() or b.istitle():  # its case says nothing
        a, b = a.lower(), b.lower()
    one, other = _code(a), _code(b)
    return one[:3] == other[:3] and _quotes(one[3], b) and _quotes(other[3], a) and _same_money(a, b)


def same_task(a: str, b: str) -> bool:
    """Refuse when a text is to be repeated, spelled, translated, counted or mended, and is another by one letter."""
    if a == b:
        return True
    if _confused(a) != _confused(b):
        return False
    if not _is_task(a) and not _is_task(b):
        return True
    one, other = _given(a), _given(b)
    if one and other:
        return one == other
    if one or other:
        return _quotes(one, b) and _quotes(other, a)
    return words(_unaccented(a)) != words(_unaccented(b)) or _letters(a) == _letters(b)


@lru_cache(maxsize=1024)
def _is_task(text: str) -> bool:
    return _TASK.search(plain(text)) is not None


def _quotes(spans: tuple[str, ...], other: str) -> bool:
    """Whether the other text says these, too, with marks around them or not."""
    if not spans:
        return True
    said, at = plain(other), 0
    for span in spans:
        if (at := said.find(span, at)) < 0:
            return False
        at += len(span)
    return True


def _same_money(a: str, b: str) -> bool:
    if "$" not in a and "$" not in b:
        return True
    return (_PRICE.search(a) is None or _MONEY.search(b) is not None) and (
        _PRICE.search(b) is None or _MONEY.search(a) is not None
    )


@lru_cache(maxsize=1024)
def _code(text: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Signs, indented lines, SQL, and what stands between backticks."""
    said = plain(text).strip()
    spans = tuple(fenced or quoted for fenced, quoted in _SPAN.findall(said)) if "`" in said else ()
    indented = tuple(line.rstrip() for line in _INDENTED.findall(said)) if "\n" in said else ()
    sql: tuple[str, ...] = ()
    if has_any(said, ("SELECT", "INSERT", "UPDATE", "DELETE")):
        sql = tuple(" ".join(found.split()).rstrip(".?!;") for found in _SQL.findall(said))
    signs: tuple[str, ...] = ()
    if _SIGN.search(said):
        tokens = [_bared(token) for token in _TOKEN.findall(said) if _SIGN.search(token)]
        signs = tuple(token for token in tokens if _SIGN.search(token) and not _SPOKEN.fullmatch(token))
    return signs, indented, sql, spans


def _bared(token: str) -> str:
    """A token without the marks of the sentence around it."""
    token = token.strip("'\"").rstrip(".,:;?!'\"")
    if token.startswith("(") and (")" not in token or token.endswith(")")):
        token = token[1:]
    if token.endswith(")") and "(" not in token:
        token = token[:-1].rstrip(".,:;?!'\"")
    return token.lstrip("'\"")


@lru_cache(maxsize=1024)
def _given(text: str) -> tuple[str, ...]:
    """What a task is given: what stands in quotes, else after a colon."""
    said = plain(text).strip()
    if quoted := tuple("".join(parts) for parts in _QUOTED.findall(said)):
        return quoted
    found = _AFTER_COLON.search(said)
    return () if found is None else (next(filter(None, found.groups())).strip(),)


@lru_cache(maxsize=1024)
def _confused(text: str) -> tuple[str, ...]:
    """its, it's: in their order, where a text has two of them."""
    said = plain(text).lower()
    if "'" not in said:
        return ()
    found = tuple(_CONFUSED.findall(said))
    return found if any("'" in word and word.replace("'", "") in found for word in found) else ()


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")


def _letters(text: str) -> str:
    return " ".join(plain(text).casefold().split()).rstrip(".?! ")
