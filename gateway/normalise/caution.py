"""What an answer may lean on after all. Pure.

An id or nonce that the rest of the prompt speaks of is a subject, not a nonce. A clock may lose its seconds wherever
nothing else in the prompt is said to the second. More than that only the backend loses, too, and only where the prompt
is shown not to ask for it: in words of English or Chinese, the languages whose words for it are known. Afterwards: an
answer to a prompt whose key leaves something out is not kept when it says it.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import Any

from backends.chat import Completion
from gateway.normalise.rules import NAMES, speaks_of_ids
from gateway.normalise.text import Cut

CLOCKS = frozenset({"clock", "timestamps", "dates"})
MIN_QUOTED_CHARS = 4
MIN_AFFIX_CHARS = 3
MAX_CHARS = 20_000  # of a question that is read; a longer one counts as leaning on the clock

# Each begins with a letter or two, or is one: the search for those takes no time.
_TO_THE_SECOND = (
    re.compile(r":[0-5]\d:[0-5]\d"),
    re.compile(r"1(?<![\d.]1)\d{9}"),
    re.compile("seconds"),
    re.compile("秒"),
)

_HOURS = re.compile(  # 9:30, 5 pm, 8-17
    r"\d(?<![\d+:−-]\d)\d?(?:[:.h][0-5]\d(?!\d)| ?[ap]\.?m\b"
    r"| ?(?:[-–—~～/至到]|to|till|until|and) ?\d{1,2}(?![\d.,:/-]*\d))"
)
_HOUR_WORDS = re.compile(
    r"o'?clock|hours?|mornings?|noon|afternoons?|evenings?|nights?|tonight|midnight|greet.*|open(?:s|ing)?|clos(?:es?|ed|ing)"
    r"|schedul.*|timetables?|calendars?|appointments?|shifts?|deadlines?|countdown"
)
_HAN_HOURS = re.compile(
    r"[点點][钟鐘]|小[时時]|[上下中]午|[早晚]上|今晚|夜|[营營][业業]|[开開关關][门門]|[上下值]班|班次|日程|[预預][约約]|[问問]候|截止"
)
_ASK_WORDS = re.compile(
    r"times?|clock|minutes?|days?|dates?|weeks?|months?|years?|today|tomorrow|yesterday|when|now|still|yet|late|early|soon|until"
    r"|till|ago|due|next|old|age|timestamps?|[ap]m|i|i'.*|me|my|we|we'.*|us|our"
)
_HAN_ASKS = re.compile(r"[时時点點几幾何今明昨现現早晚午夜钟鐘班我年月天赶趕]|多久|日期")

_FOREIGN = re.compile(r"[^\W\d_a-zA-Z\u4e00-\u9fff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[a-z']+")
# Of English alone: "is" is Dutch, too, "for" Danish, "me" Spanish.
_ENGLISH = re.compile(
    "the|and|are|what|how|why|which|who|you|your|this|that|these|those|with|from|about|does|should|would|could|can|must"
    "|please|it|not|be|has|there|explain|write|when|where|give|tell"
)
# What a clock is said with tells no language.
_CLOCK_SAID = re.compile(
    r"current|local|system|server|utc|gmt|date|time|datetime|timestamp|today|now|is|[ap]m|t?xx|xxz|iso|format|unix|mon|tue"
    r"|wed|thu|fri|sat|sun|.{3,6}day|jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec|january|february|march|april|august"
    r"|(?:sept|nov|dec)ember|october|t|z"
)
_RUN = re.compile(r"^[A-Za-z]{2}(?=\d)|(?<=\d)[A-Za-z]{2}$")


def is_to_the_second(text: str) -> bool:
    """Whether a text says a moment to the second, or speaks of seconds."""
    folded = text.casefold()
    return any(pattern.search(folded) for pattern in _TO_THE_SECOND)


def names_hours(text: str) -> bool:
    """Whether a text may hold something that is true at some hours: opening times, a timetable, a greeting."""
    return speaks_of_hours(text) or not _is_known(text)


def speaks_of_hours(text: str) -> bool:
    """The same of a text that need be in no language, as a tool's."""
    folded = text.casefold()
    return _HOURS.search(folded) is not None or _HAN_HOURS.search(folded) is not None or _says(_HOUR_WORDS, folded)


def may_ask_time(text: str) -> bool:
    """Whether who answers may have to know the time of the day, or is not shown to do without."""
    if len(text) > MAX_CHARS or names_hours(text):
        return True
    folded = text.casefold().replace("’", "'")
    return _HAN_ASKS.search(folded) is not None or _says(_ASK_WORDS, folded)


def _says(words: re.Pattern[str], folded: str) -> bool:
    return any(map(words.fullmatch, frozenset(_WORD.findall(folded))))


def _is_known(text: str) -> bool:
    """Whether a text is English or Chinese: a tenth of its words are English ones, or a third of it is Chinese."""
    if len(_FOREIGN.findall(text)) * 200 > len(text):
        return False
    if len(_HAN.findall(text)) * 3 >= len(text):
        return True
    counts = Counter(_WORD.findall(text.casefold()))
    english = sum(count for word, count in counts.items() if _ENGLISH.fullmatch(word))
    return 10 * english >= sum(count for word, count in counts.items() if not _CLOCK_SAID.fullmatch(word))


class Rest:
    """All that a prompt says besides what is taken out of it."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._text = "\n".join(texts)
        self._folded = self._text.casefold()
        self._names_spoken: dict[str, bool] = {}

    def speaks_of(self, cut: Cut) -> bool:
        """Whether an id, its name, a part of it, or how it begins or ends stands here: "sessions ending in -vip"."""
        if cut.rule == "agent_nonces":
            return any(value.casefold() in self._folded for value in re.findall(r"cch=(\w+)", cut.text))
        if cut.rule.startswith("pattern"):
            return any(piece.casefold() in self._folded for piece in _pieces(cut.text))
        if cut.rule not in self._names_spoken:
            self._names_spoken[cut.rule] = speaks_of_ids(self._folded, cut.rule)
        if self._names_spoken[cut.rule]:
            return True
        return any(self._has(part) for part in re.split(r"[\W_]+", cut.text) if part.casefold() not in NAMES)

    def _has(self, part: str) -> bool:
        if any(run in self._text and run in self._words for run in _RUN.findall(part)):
            return True
        folded = part.casefold()
        if not any(end in self._folded for end in (folded[:MIN_AFFIX_CHARS], folded[-MIN_AFFIX_CHARS:])):
            return False  # most ids: no words need be told apart
        if len(part) > 2 * MIN_AFFIX_CHARS and folded in self._folded:
            return True
        lengths = range(MIN_AFFIX_CHARS, len(part) + 1)
        affixes = {folded[:size] for size in lengths} | {folded[-size:] for size in lengths}
        return not affixes.isdisjoint(self._folded_words)

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(re.findall(r"[^\W_]+", self._text))

    @cached_property
    def _folded_words(self) -> frozenset[str]:
        return frozenset(re.findall(r"[^\W_]+", self._folded))


def tells(completion: Completion, cuts: Collection[Cut]) -> bool:
    """Whether an answer says what was taken out: a part of an id, any number of a clock that its key is without."""
    said = "\n".join(strings([choice.message for choice in completion.choices]))
    numbers, folded = set(_numbers(said)), _folded(said)
    for cut in cuts:
        if cut.rule in CLOCKS:
            if not numbers.isdisjoint(_numbers(cut.text) - _numbers(cut.to)):  # of 12:12:12 one 12 is gone
                return True
        elif any(piece in folded for piece in _pieces(cut.text)):
            return True
    return False


def _numbers(text: str) -> Counter[int]:
    return Counter(map(int, re.findall(r"\d{1,20}", text)))


def _folded(text: str) -> str:
    """Letters and digits alone: an id in capitals, or spelled, is the same id."""
    return re.sub(r"[\W_]+", "", text).casefold()


def _pieces(text: str) -> set[str]:
    """What of a text that was taken out would be told: four characters of its words with a digit, else all of it."""
    words = [folded for word in text.split() if re.search(r"\d", folded := _folded(word))]
    runs = {word[at : at + MIN_QUOTED_CHARS] for word in words for at in range(len(word) - MIN_QUOTED_CHARS + 1)}
    told = {run for run in runs if re.search(r"\d", run)} or {_folded(text)}
    return {piece for piece in told if len(piece) >= MIN_QUOTED_CHARS}


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from strings(name)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
