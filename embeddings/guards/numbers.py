"""Do two texts hold the same quantities? `ten` is 10, `1k` is 1,000, `50 %` is 50 percent, `二十` is 20.

Texts are first rewritten so that every number is spelled in digits (`numerals`), then read into quantities: a number,
and a kind where a unit says one (seconds, bytes, dollars). A number that may be no number at all ("which one", "first")
is unsure: it may match, it need not.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from embeddings.guards.numerals import UNSURE, in_digits
from embeddings.guards.units import UNITS
from embeddings.text import HAN, has_any, plain

Exact = int | Fraction  # never rounded: two accounts may differ in their sixteenth digit
MOST_DIGITS = 300  # a longer number is compared as text


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as written, and as `amount` of `kind` when a unit followed."""

    written: Exact | str  # versions and 3.10 are no fractions: they stay text
    amount: Exact
    kind: str = ""
    is_sure: bool = True

    def agrees(self, other: "Quantity") -> bool:
        if "pound" in (self.kind, other.kind) and self.kind != other.kind and self.kind and other.kind:
            pounds, known = (self, other) if self.kind == "pound" else (other, self)
            amount = _times(pounds.amount, 453.592) if known.kind == "mass" else pounds.amount
            return known.kind in ("gbp", "mass") and amount == known.amount
        if self.kind and other.kind:
            return self.kind == other.kind and self.amount == other.amount
        return self.written == other.written


_SCALES = {
    "k": 10**3, "thousand": 10**3, "million": 10**6, "mn": 10**6,
    "b": 10**9, "bn": 10**9, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*\.?"
_MONTH_BY_DAY = re.compile(
    rf"\b{_MONTH}(?=\s+\d)|(?<=\d)(?P<gap>(?:st|nd|rd|th)?(?:\s+of)?\s+){_MONTH.replace('month', 'after')}(?![a-z])"
)
_SPLIT_DATE = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)|(?<!\d)(\d{1,2})/(\d{1,2})/(\d{2,4})(?!\d)")
_SLASHED = re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{2,4})(?![\d/])")
_MINUS = re.compile(r"(?<!\d )(?<!\b\w )\b(?:minus|negative) (?=\d)")  # x minus 5 is a sum, "at minus 5" a number
_CLOCK = re.compile(
    r"(?<!\d)(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?\s*(?P<half>am|pm|a\.m|p\.m)\b|(?<!\d)(?P<h24>\d{1,2}):(?P<m24>\d\d)(?!\d)"
)
_NUMBER = re.compile(
    rf"(?P<unsure>{UNSURE})?(?P<coin>[$€£¥₹]\s?)?(?P<sign>(?<![\w)\]])-)?"
    r"(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)*|(?<!\d)\.\d+)"
    r"(?:/(?P<under>[1-9]\d*)(?![\d/]))?(?P<ending>(?:st|nd|rd|th)\b)?"
    rf"(?:(?P<scale>\s?(?:thousand|million|billion|trillion)|(?:k|bn|mn|b))(?![a-z]))?"
    rf"(?:[\s-]?(?P<unit>%|km/h|°?[a-z]+|[{HAN}]{{1,4}}|[$€£₹]))?"
)


def same_numbers(a: str, b: str) -> bool:
    """Refuse when a number, date, version, percentage, price or measure of one text is missing from the other."""
    (in_a, operators_a), (in_b, operators_b) = _read(a), _read(b)
    if not (in_a or in_b or operators_a or operators_b or _has_digits(a) or _has_digits(b)):
        return True
    if operators_a and operators_b and operators_a != operators_b:
        return False  # 1+1, 1-1. A dash alone may be a range, so one side is no proof
    if _turned(a, b) or _regrouped(a, b) or _rejoined(a, b):
        return False
    return in_a == in_b or (_covers(in_a, in_b) and _covers(in_b, in_a))


def _turned(a: str, b: str) -> bool:
    """Whether day and month changed places: 3/4/2020, 4/3/2020. Two ways of writing one date are left alone."""
    dates_a, dates_b = (
        [(int(one), int(other), int(year) % 100) for one, other, year in _SLASHED.findall(plain(text))]
        for text in (a, b)
    )
    return bool(dates_a) and bool(dates_b) and sorted(dates_a) != sorted(dates_b)


_GROUPED = re.compile(r"(?<!\d)\d++(?:[ .-]\d++)+")


def _regrouped(a: str, b: str) -> bool:
    """Whether the groups of a card, a phone or an account changed places: 4111 2222, 2222 4111."""
    groups_a, groups_b = ([re.findall(r"\d+", run) for run in _GROUPED.findall(plain(text))] for text in (a, b))
    return sorted(map(sorted, groups_a)) == sorted(map(sorted, groups_b)) and sorted(groups_a) != sorted(groups_b)


_JOINED = re.compile(
    r"(?<![\d.,/-])(?P<between>between )?(\d{1,9}) ?(?P<link>-|–|to|through|until|till|and|or) ?(\d{1,9})"
    r"(?![\d/]|[.,-]\d)"
)
_RANGES = frozenset({"-", "–", "to", "through", "until", "till"})


def _rejoined(a: str, b: str) -> bool:
    """Whether two numbers are a range in one text and none in the other, or one of the two here and both there."""
    (ranges_a, links_a), (ranges_b, links_b) = _joined(a), _joined(b)
    return ranges_a != ranges_b or any(links_a[pair] != links_b[pair] for pair in links_a.keys() & links_b.keys())


@lru_cache(maxsize=1024)
def _joined(text: str) -> tuple[frozenset[tuple[int, int]], dict[tuple[int, int], str]]:
    """The ranges of a text, and what else joins two numbers: 10-12; 10 and 12, 10 or 12."""
    ranges, links = set(), {}
    if not _has_digits(text):
        return frozenset(), {}
    for match in _JOINED.finditer(in_digits(plain(text)).lower().replace(UNSURE, "")):
        pair = int(match[2]), int(match[4])
        if match["between"] or match["link"] in _RANGES:
            ranges.add(pair)
        else:
            links[pair] = match["link"]
    return frozenset(ranges), links


def quantities(text: str) -> tuple[Quantity, ...]:
    """The quantities of a text, unsure ones too."""
    return _read(text)[0]


def num_unpaired(in_a: Sequence[Quantity], in_b: Sequence[Quantity]) -> tuple[int, int]:
    """How many quantities of either text find no partner, and how many find one."""
    if in_a == in_b:
        return 0, len(in_a)
    paired = min(_num_paired(in_a, in_b), _num_paired(in_b, in_a))
    return len(in_a) + len(in_b) - 2 * paired, paired


def _num_paired(a: Sequence[Quantity], b: Sequence[Quantity]) -> int:
    if max(len(a), len(b)) > _MANY:
        return (Counter(q.written for q in a) & Counter(q.written for q in b)).total()
    left = list(b)
    for quantity in a:
        if partner := next((other for other in left if quantity.agrees(other)), None):
            left.remove(partner)
    return len(b) - len(left)


# The text asked is compared with up to eight candidates: reading it costs 50 us, comparing 2.
@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[tuple[Quantity, ...], tuple[str, ...]]:
    """The quantities and the arithmetic operators of a text."""
    spelled = in_digits(_without_markers(plain(text)))
    if _DIGIT.search(spelled) is None:
        return (), tuple(_operators(spelled.lower())) if has_any(spelled, "+*×÷^<>=!-/") else ()
    return tuple(_quantities(spelled)), tuple(_operators(spelled.lower()))


_DIGIT = re.compile(r"\d")


@lru_cache(maxsize=1024)
def _has_digits(text: str) -> bool:
    """Whether there are any, as written or once they are spelled so."""
    said = plain(text)
    return _DIGIT.search(said) is not None or _DIGIT.search(in_digits(said)) is not None


_MARKER = re.compile(r"(?:(?<=\s)|^)\(?(\d{1,2})[.)]\s+(?=[A-Za-z`\"])")


def _without_markers(text: str) -> str:
    """Without the numbers that number a list: 1. ... 2. ..."""
    if "1" not in text:
        return text
    markers = _MARKER.findall(text)
    is_list = markers[:2] == ["1", "2"] and markers == [str(n + 1) for n in range(len(markers))]
    return _MARKER.sub(" ", text) if is_list else text


def _quantities(spelled: str) -> list[Quantity]:
    lowered = _MINUS.sub("-", _upper_million(spelled).lower())
    lowered = _SPLIT_DATE.sub(lambda m: " ".join(str(int(part)) for part in m.groups() if part), lowered)
    lowered = _MONTH_BY_DAY.sub(_month_number, lowered)
    found: list[Quantity] = []

    def take_clock(match: re.Match[str]) -> str:
        found.append(_clock(match))
        return " "

    lowered = _CLOCK.sub(take_clock, lowered)
    found.extend(_plain_quantities(lowered))
    return found


def _plain_quantities(text: str) -> Iterator[Quantity]:
    for match in _NUMBER.finditer(text):
        digits, unit = match["number"].replace(",", ""), match["unit"] or ""
        kind, factor = _unit(match["coin"], unit)
        is_sure = match["unsure"] is None or kind not in (
            "",
            "time",
            "months",
        )  # one kilo is a kilo, one day may be none
        is_text = digits.count(".") > 1 or (digits.endswith("0") and "." in digits and not kind)
        is_text |= digits[:2].isdigit() and digits[0] == "0" and not kind  # 007421 names something else than 7421
        if is_text or len(digits) + len(match["under"] or "") > MOST_DIGITS:
            yield Quantity(f"{digits}/{match['under']}" if match["under"] else digits, 0, "", is_sure)
            continue
        value = _number(digits, match["under"], _SCALES.get((match["scale"] or "").strip(), 1))
        value = -value if match["sign"] else value
        if unit == "s" and digits.endswith("0") and match.group().endswith("0s"):
            kind, factor = "decade", 1.0  # the 1990s, the 90s
        yield Quantity(value, _times(value, factor), kind, is_sure)


def _number(digits: str, under: str | None, scale: int) -> Exact:
    """What is written: 4111111111111112, 1.5 million, 3/4."""
    if under is None and "." not in digits:
        return int(digits) * scale
    return Fraction(digits) / int(under or 1) * scale


def _times(value: Exact, factor: float) -> Exact:
    """A number of units in the unit of its kind; units are decimals, so 12 inches are a foot to the last digit."""
    return value if factor == 1 else value * _exactly(factor)


@lru_cache(maxsize=1024)
def _exactly(factor: float) -> Fraction:
    return Fraction(str(factor))


def _unit(coin: str | None, unit: str) -> tuple[str, float]:
    if coin:
        return UNITS[coin.strip()]
    if unit[:1].isascii():
        return UNITS.get(unit, ("", 1.0))
    for length in (4, 3, 2, 1):  # Chinese has no spaces: the longest unit that the text starts with
        if len(unit) >= length and unit[:length] in UNITS:
            return UNITS[unit[:length]]
    return "", 1.0


def _clock(match: re.Match[str]) -> Quantity:
    if match["h24"]:
        minutes = 60 * int(match["h24"]) + int(match["m24"])
    else:
        minutes = 60 * (int(match["hour"]) % 12 + 12 * match["half"].startswith("p")) + int(match["minute"] or 0)
    return Quantity(f"clock {minutes}", minutes, "clock")


def _month_number(match: re.Match[str]) -> str:
    name = match["month"] or match["after"]
    return f"{match['gap'] or ''}{_MONTHS.index(name) + 1}"


def _upper_million(text: str) -> str:
    """5M is five million and 5m five metres: the one place where case of a unit counts."""
    return re.sub(r"(?<=\d)M\b", " million", text)


_MANY = 100  # from here on numbers are data, and pairing them costs too much


def _covers(needed: Sequence[Quantity], given: Sequence[Quantity]) -> bool:
    """Whether every sure quantity has a partner of its own, the same kind first."""
    if max(len(needed), len(given)) > _MANY:
        return Counter(q.written for q in needed if q.is_sure) <= Counter(q.written for q in given)
    left = list(given)
    for quantity in sorted((q for q in needed if q.is_sure), key=lambda q: not q.kind):
        partners = [other for other in left if quantity.agrees(other)]
        if not partners:
            return False
        left.remove(next((other for other in partners if other.kind == quantity.kind), partners[0]))
    return True


_OPERATOR = re.compile(
    r"(?<=[\w)])\s*(\*\*|[<>!=]=|[+*×÷^<>=])\s*(?=[\w(])|(?<=\d)\s*([-/])\s*(?=\d)|(?<=\b[a-z])\s([-/])\s(?=[a-z]\b)"
)
_FRACTION = re.compile(r"(?<![\w/.])(?:1/[2-9]|2/3|3/[45])(?![\w/.])")
_SPOKEN = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "multiplied": "*",
    "divided": "/",
    "加": "+",
    "减": "-",
    "乘": "*",
    "除以": "/",
}
_SPOKEN_OPERATOR = re.compile(rf"(?<=\d)\s*(?:{'|'.join(_SPOKEN)})(?:\s+by)?\s*(?=\d)")


def _operators(text: str) -> list[str]:
    spelled = _SPOKEN_OPERATOR.sub(lambda m: _SPOKEN[m.group().strip().split(" ")[0]], text)
    same = {"×": "*", "÷": "/", "**": "^"}
    asked = _FRACTION.sub("1", spelled)  # 3/4 is a number, also where it is no sum
    return sorted(same.get(op, op) for op in (m[1] or m[2] or m[3] for m in _OPERATOR.finditer(asked)))
