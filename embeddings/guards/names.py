"""Do two texts speak of the same things: names, quotations, code, addresses, paths, identifiers?

People do not all write capitals, so a name of one text only has to be found in the other, in any case, spaced or not
("python3", "Python 3"), or as its initials ("LLM", "large language model").
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from embeddings.guards.kinds import other_names
from embeddings.text import HAN, has_any, has_han, plain, word_set, words

_QUOTED = re.compile(r'"([^"\n]{1,200})"|(?<!\w)\'([^\'\n]{2,200})\'(?!\w)|「([^」]+)」|《([^》]+)》|『([^』]+)』')
_CODE = re.compile(r"```(?:\w*\n)?(.+?)```|`([^`\n]+)`", re.DOTALL)
_ADDRESS = re.compile(
    r"(?:https?|ftp)://[^\s<>\"')]+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<![\w/])(?:~|\.{1,2})?/[\w.@-]+(?:/[\w.@-]*)*|\b[A-Za-z]:\\\S+"
)
_IDENTIFIER = re.compile(
    r"(?<![\w.])(?:--?[a-z][\w-]+|[A-Za-z]\w*_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|[A-Za-z]+\+\+|[A-Z]#|\.?[A-Z]{2,}s?|"
    r"\w+\.(?:py|js|ts|json|ya?ml|toml|txt|csv|md|sh|c|cpp|h|rs|go|java|html|css|com|org|net|io)\b|\.NET|"
    r"[a-z_]{2,}(?:\.[a-z_]\w+)+|[A-Za-z]+-?\d[\w.-]*|\d+[A-Za-z]\w*|[A-Z]{2,}-\w+)(?!\w)"
)
_ODD = re.compile(r"[\d_+#-]|\.\S|[A-Za-z][A-Z]")  # no identifier is without
_ORDINAL = re.compile(
    r"\d+(?:st|nd|rd|th|s|k|m|b|bn|am|pm|h|hr|hrs|min|mins|kg|km|cm|mm|g|gb|mb|kb|tb|ms|ft|lb|lbs|mph|kmh|usd|x)",
    re.IGNORECASE,
)
_CAPITALISED = re.compile(rf"(?<![\w'.°])[A-ZÀ-Þ][^\W_{HAN}]*(?:['-][^\W_{HAN}]+)*(?![+#\w])")
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n>*#•\-\"(]|\d[.)])\s*$")
_NO_NAME = word_set(
    "I I'm I've I'd I'll A An The OK Ok Please Hi Hello Hey Thanks Mr Mrs Ms Dr PLEASE NOT AND OR IS THE A.M"
    " P.M AM PM What Who Where When Why How Which Can Could Is Are Do Does Did Tell Explain Give Show List"
    " Describe Define First Second Third January February March April May June July August September October"
    " November December II III IV VI VII VIII IX"
    " City Airport Airline Airlines University Street State Country Celsius Fahrenheit GB MB KB TB KG KM CM MM ML TV"
)
_FORMS = word_set("n an ian ean ic ese ish y al")
_CODE_NAME = re.compile(r"^[a-z]{2,}[A-Z]|_")  # getUser, get_user: getUsers is another
_LOUD = re.compile(r"[a-z]")
_LATIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+#.]+(?<!\.)")
_SYMBOL = re.compile(r"[+*<>=!&|^%~]")
_SPACE = re.compile(r"\s+")
_NOT_WORD = re.compile(r"\W+")
_LETTERS_OR_DIGITS = re.compile(r"[^\W\d_]+|\d+")
_ALIASES = (
    ("us", "usa", "u.s", "u.s.a", "united states", "america", "american"),
    ("uk", "u.k", "united kingdom", "britain", "british"),
    ("eu", "european union"),
    ("ml", "machine learning"),
    ("ai", "artificial intelligence"),
    ("db", "database"),
    ("js", "javascript"),
    ("k8s", "kubernetes"),
    ("postgres", "postgresql"),
    ("2fa", "two-factor authentication", "two factor authentication", "2-factor authentication"),
    ("nyc", "new york city", "new york"),
    ("tv", "television"),
    ("id", "identity", "identification"),
    ("pin", "passcode", "code"),
    ("atm", "cash machine", "cashpoint"),
)
_ALIAS_GROUP = {name: group for group in _ALIASES for name in group}


def same_names(a: str, b: str) -> bool:
    """Refuse when a name, quotation, code span, address, path or identifier of one text is not in the other."""
    first, second = plain(a), plain(b)
    return not _missing(first, second) and not _missing(second, first)


def num_missing(a: str, b: str) -> int:
    """How many names of either text are not in the other."""
    first, second = plain(a), plain(b)
    return len(_missing(first, second)) + len(_missing(second, first))


def num_names(text: str) -> int:
    return len(_named(plain(text)))


def _missing(text: str, other: str) -> set[str]:
    """What `text` names and `other` does not. What cannot be found in its own text either is a piece, not a name."""
    names = _named(text)
    if not names:
        return set()
    said = _said(other)
    missing = {name for name in names if not said.has(name)}
    own = _said(text) if missing else said
    return {name for name in missing if own.has(name)}


class _Said:
    """A text to look names up in."""

    def __init__(self, text: str) -> None:
        spoken = words(text)
        self.words = frozenset(spoken)
        self.run = f" {' '.join(spoken)} "
        self.squeezed = _NOT_WORD.sub("", text.casefold())
        self.tight = _SPACE.sub("", text.casefold())
        self.initials = "".join(word[0] for word in spoken)

    def has(self, name: str) -> bool:
        """Whether the text has `name`: as it is, under another name, as its initials, or all its words."""
        folded = name.casefold().strip(".,;:!?'\"")
        parts = words(folded)
        if not parts or _SYMBOL.search(folded):
            return _SPACE.sub("", folded) in self.tight  # `==` is not `!=`, though neither holds a word
        return (
            f" {' '.join(parts)} " in self.run
            or any(f" {alias} " in self.run for alias in (*_ALIAS_GROUP.get(folded, ()), *other_names(folded)))
            or (
                _CODE_NAME.search(name) is None
                and self._has_squeezed(_NOT_WORD.sub("", folded), is_acronym=name.rstrip("s").isupper())
            )
            or (len(parts) > 1 and (self._has_acronym(parts) or all(part in self.words for part in parts)))
        )

    def _has_squeezed(self, squeezed: str, is_acronym: bool) -> bool:
        """Spaced, joined or in the plural; or, of an acronym, the words that it stands for."""
        if len(squeezed) >= 5 and squeezed in self.squeezed:
            return True
        if len(squeezed) >= 4 and any(self._is_form_of(squeezed, word) for word in self.words):
            return True
        if squeezed + "s" in self.words or squeezed.removesuffix("s") in self.words:
            return True
        if any(char.isdigit() for char in squeezed):
            apart = " ".join(_LETTERS_OR_DIGITS.findall(squeezed))
            return f" {apart} " in f" {' '.join(_LETTERS_OR_DIGITS.findall(self.run))} "
        return is_acronym and 2 <= len(squeezed) <= 6 and squeezed.removesuffix("s") in self.initials

    @staticmethod
    def _is_form_of(name: str, word: str) -> bool:
        """Africa, African; Germany, German."""
        short, long = sorted((name, word), key=len)
        return len(short) >= 4 and long.startswith(short) and long[len(short) :] in _FORMS

    def _has_acronym(self, parts: Sequence[str]) -> bool:
        acronym = "".join(part[0] for part in parts)
        return acronym in self.words or acronym + "s" in self.words


@lru_cache(maxsize=1024)
def _said(text: str) -> _Said:
    return _Said(text)


@lru_cache(maxsize=1024)
def _named(text: str) -> frozenset[str]:
    return frozenset(_names(text))


def _names(text: str) -> Iterator[str]:
    bare = text
    if has_any(text, "`\"'「《『"):
        for pattern in (_CODE, _QUOTED):
            for match in pattern.finditer(text):
                yield next(group for group in match.groups() if group)
        bare = _CODE.sub(" ", text)
    if has_any(text, "/@\\"):
        for match in _ADDRESS.finditer(text):
            yield match.group()
        bare = _ADDRESS.sub(" ", bare)
    if has_han(bare):
        yield from _LATIN_WORD.findall(bare)  # inside Chinese every Latin word stands out
        return
    if not _LOUD.search(bare):
        return  # all in capitals: none of them says anything
    for match in _IDENTIFIER.finditer(bare) if _ODD.search(bare) else ():
        if match.group() not in _NO_NAME and not _ORDINAL.fullmatch(match.group()):
            yield match.group()
    yield from _capitalised(bare)


def _capitalised(text: str) -> Iterator[str]:
    """Capitalised words inside a sentence, neighbours together; none when the text is in title case throughout."""
    found = [match for match in _CAPITALISED.finditer(text) if match.group() not in _NO_NAME]
    if len(found) >= 4 and len(found) >= 0.7 * len([word for word in text.split() if len(word) > 3]):
        return
    run: list[str] = []
    end = -2
    for match in found:
        if match.start() != end + 1 and run:
            yield " ".join(run)
            run = []
        end = match.end()
        if not _SENTENCE_START.search(text[max(0, match.start() - 4) : match.start()]):
            run.append(match.group().removesuffix("'s"))
    if run:
        yield " ".join(run)
