"""Do two texts speak of the same things: names, quotations, code, addresses, paths, identifiers?

People do not all write capitals, so a name of one text only has to be found in the other, in any case, spaced or not
("python3", "Python 3"), or as its initials ("LLM", "large language model").
"""

import re
from collections.abc import Iterator
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
    return not _missing(first, _named(first), second) and not _missing(second, _named(second), first)


def num_missing(a: str, names_a: frozenset[str], b: str, names_b: frozenset[str]) -> int:
    """How many names of either text are not in the other."""
    first, second = plain(a), plain(b)
    return len(_missing(first, names_a, second)) + len(_missing(second, names_b, first))


def names_of(text: str) -> frozenset[str]:
    """The names, quotations, code spans, addresses, paths and identifiers of a text."""
    return _named(plain(text))


def _missing(text: str, names: frozenset[str], other: str) -> list[str]:
    """The `names` of a text that the other does not have. What cannot be found in its own text either is a piece, not a
    name."""
    if not names:
        return []
    said = _said(other)
    missing = [name for name in names if not said.has(name)]
    if not missing:
        return missing
    own = _said(text)
    return [name for name in missing if own.has(name)]


class _Name:
    """A name to be looked up."""

    def __init__(self, name: str) -> None:
        folded = name.casefold().strip(".,;:!?'\"")
        self.parts = words(folded)
        self.tight = _SPACE.sub("", folded)
        self.is_symbol = not self.parts or _SYMBOL.search(folded) is not None  # `==` is not `!=`: neither holds a word
        self.run = f" {' '.join(self.parts)} "
        self.others = [f" {alias} " for alias in (*_ALIAS_GROUP.get(folded, ()), *other_names(folded))]
        self.squeezed = _NOT_WORD.sub("", folded)
        self.is_code = _CODE_NAME.search(name) is not None
        self.is_acronym = name.rstrip("s").isupper()
        self.acronym = "".join([part[0] for part in self.parts])
        self.with_digits = ""
        if any(char.isdigit() for char in self.squeezed):
            self.with_digits = f" {' '.join(_LETTERS_OR_DIGITS.findall(self.squeezed))} "


class _Said:
    """A text to look names up in."""

    def __init__(self, text: str) -> None:
        spoken = words(text)
        self.words = frozenset(spoken)
        self.run = f" {' '.join(spoken)} "
        self.text = text

    def has(self, name: str) -> bool:
        """Whether the text has `name`: as it is, under another name, as its initials, or all its words."""
        one = _name(name)
        if one.is_symbol:
            return one.tight in _SPACE.sub("", self.text.casefold())
        if one.run in self.run or has_any(self.run, one.others):
            return True
        if not one.is_code and self._has_squeezed(one):
            return True
        return len(one.parts) > 1 and (
            one.acronym in self.words or one.acronym + "s" in self.words or self.words.issuperset(one.parts)
        )

    def _has_squeezed(self, name: _Name) -> bool:
        """Spaced, joined or in the plural; or, of an acronym, the words that it stands for."""
        squeezed = name.squeezed
        if len(squeezed) >= 5 and squeezed in _NOT_WORD.sub("", self.text.casefold()):
            return True
        if len(squeezed) >= 4 and self._has_form_of(squeezed):
            return True
        if squeezed + "s" in self.words or squeezed.removesuffix("s") in self.words:
            return True
        if name.with_digits:
            return name.with_digits in f" {' '.join(_LETTERS_OR_DIGITS.findall(self.run))} "
        if not name.is_acronym or not 2 <= len(squeezed) <= 6:
            return False
        return squeezed.removesuffix("s") in "".join([word[0] for word in words(self.text)])

    def _has_form_of(self, name: str) -> bool:
        """Africa, African; Germany, German."""
        begin = name[:4]
        for word in self.words:
            if word[:4] == begin:
                short, long = (name, word) if len(name) <= len(word) else (word, name)
                if long.startswith(short) and long[len(short) :] in _FORMS:
                    return True
        return False


@lru_cache(maxsize=1024)
def _name(name: str) -> _Name:
    return _Name(name)


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
