"""When what would be taken out matters after all. Pure, English and Chinese.

Before: a question that leans on the clock is asked with the clock, and under a key of its own. After: an answer to a
prompt whose key leaves something out is not kept when it says it, or says a time of day.
"""

import re
from collections.abc import Iterable
from typing import Any

from backends.chat import Completion
from gateway.normalise.text import Cut
from gateway.questions import is_volatile

CLOCKS = frozenset({"clock", "timestamps", "dates"})
MIN_QUOTED_CHARS = 4
MAX_CHARS = 20_000  # of a question that is read; a longer one counts as leaning on the clock

# What a model cannot answer well that knows the day alone.
_NEEDS = re.compile(
    r"\b((?<!run )times?(?! complexity| out)|clock|o'?clock|hours?|minutes?|morning|noon|afternoon|evening|tonight"
    r"|midnight|timetable|countdown|how (?:soon|late|early)|(?:is|are) [^.?!]{0,40}(?:open|closed|closing)"
    r"|greet(?:ing)?s?|timestamps?|[ap]\.?m|right now)\b|\d[ap]m\b|\d:\d\d"
    r"|时间|时刻|几[点时]|点钟|小时|分钟|早上|上午|中午|下午|晚上|今晚|营业|关门|开门|问候",
    re.IGNORECASE,
)
# What an answer that is kept may be wrong about an hour later.
_LEANS = re.compile(
    r"\b(time|clock|o'?clock|hours?|minutes?|seconds?|morning|noon|afternoon|evening|tonight|midnight|today|tomorrow"
    r"|yesterday|date|deadline|due|overdue|expire[sd]?|open|opens|close[sd]?|closing|schedules?|appointments?|calendar"
    r"|timetable|countdown|how (?:long|soon|late|early|old)|still|yet|late|early|soon|ago|until|till|now|when|age"
    r"|greet(?:ing)?s?|timestamps?|[ap]\.?m)\b|\d[ap]m\b|\d:\d\d"
    r"|时间|时刻|几[点时]|点钟|小时|分钟|秒|早上|上午|中午|下午|晚上|今[天晚]|明天|昨天|日期|日程|截止|到期|营业|关门|开门|还[有来]|多久"
    r"|现在|什么时候|何时|问候",
    re.IGNORECASE,
)
_SAYS_TIME = re.compile(
    r"\b[0-2]?\d[:.][0-5]\d\b|\b1?\d[ \u00a0\u202f]?[ap]\.?m\b|o'?clock|\b1\d{9}\b|[0-2]?\d[点时]"
    r"|[一二三四五六七八九十两]点",
    re.IGNORECASE,
)


def needs_clock(text: str) -> bool:
    """Whether who answers has to know the time of the day."""
    return len(text) > MAX_CHARS or _NEEDS.search(text) is not None


def leans_on_clock(text: str) -> bool:
    """Whether the answer may be another one at another time of the day."""
    return needs_clock(text) or _LEANS.search(text) is not None or is_volatile(text)


def tells(completion: Completion, cuts: Iterable[Cut]) -> bool:
    """Whether an answer says what was taken out: a nonce word for word, a clock by any time of day."""
    said = "\n".join(_texts([choice.message for choice in completion.choices]))
    for cut in cuts:
        if cut.rule in CLOCKS:
            if _SAYS_TIME.search(said) is not None or (cut.rule == "dates" and cut.text in said):
                return True
        elif any(piece in said for piece in _pieces(cut.text)):
            return True
    return False


def _pieces(text: str) -> list[str]:
    """What of a text that was taken out would be quoted: its words with a digit in them, else all of it."""
    words = [word for word in re.split(r"[\s;,=:\"'<>]+", text) if re.search(r"\d", word)]
    return [piece for piece in words or [text.strip()] if len(piece) >= MIN_QUOTED_CHARS]


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
