"""What time it is, as prompts say it: found where it is called the current one, and made coarser. Pure.

The date stays: a prompt that says which day it is goes on saying it, and its key is another one tomorrow. Only the
rule `dates` takes it out. A time zone stays where it is said: two zones are two prompts.

    Current date and time: Tuesday, June 9, 2026, 03:04:20 PM +03:00
      day        "              Tuesday, June 9, 2026, xx:xx +03:00"
      hour       "              Tuesday, June 9, 2026, 03:xx PM +03:00"
      minute     "              Tuesday, June 9, 2026, 03:04 PM +03:00"

"Opening times today: 09:00" is no current time: between the name and the time may stand words of dates alone.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from gateway.normalise.rules import Finds, Span, regions

Coarse = Literal["day", "hour", "minute"]

_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
_WEEKDAYS = "mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
_LABEL = (
    r"(?:(?<![a-z])(?:current|present|system|server)[\s_-]{0,2}(?:local|utc|unix|epoch)?[\s_-]{0,2}"
    r"(?:date[\s_-]?time|date|time[\s_-]?stamp|time|epoch)(?![a-rt-z])"
    r"|(?<![a-z])(?P<loose>today|now)(?:['’]s)?[\s_-]{0,2}(?:date|is|[:=>\n])"
    r"|(?<![a-z])it is (?:now|currently)(?![a-z])|(?<![a-z])(?:date|time)[\s_-]{1,2}now(?![a-z])"
    r"|当前(?:的?(?:系统|本地)?(?:日期和?时间|日期|时间))|现在(?:时间|是)|(?P<today>今天(?:是|的?日期))|北京时间)"
)
_WORD = (
    r"(?:and|the|is|it|of|in|at|on|as|utc|gmt|local|user|s|server|system|zone|timezone|day|date|time|datetime|now|iso|format"
    rf"|unix|epoch|timestamp|seconds|ms|not|told|am|pm|{_MONTHS}|{_WEEKDAYS})(?![a-z])"
)
_PUNCTUATION = r"[\s:=,;.\-–—>*_`\"'’()\[\]&/#|<：，（是和为星期周一二三四五六日]"
_TOKEN = (
    rf"(?:{_PUNCTUATION}|{_WORD}|t(?=\d|xx:)|(?<!\d)\d{{1,4}}+(?:(?:st|nd|rd|th|[年月日号])|(?![:\d时点]))|\d\d?:xx"
    r"|xx:xx)"
)
_TIME = (
    r"(?:(?P<joint>(?<=\d)t"  # between a date and a time
    r"|(?:(?<=[\d日号])|(?<=\d(?:st|nd|rd|th)))(?:,?[ \t]{1,2}(?:at[ \t])?|,|[ \t]?[-–][ \t]))|(?<![\d:]))"
    r"(?P<hour>[01]?\d|2[0-3])(?P<sep>[:时点])(?P<minute>[0-5]\d)"
    r"(?P<rest>[:分](?:[0-5]\d|60)(?:[.,]\d{1,9})?秒?|分)?(?![\d:])"
    r"(?P<half>[ \t\u00a0\u202f]?(?:[ap]m(?![a-z])|[ap]\.m\.))?"
)
_EPOCH = r"(?<![\d.])(?P<epoch>1\d{9}(?P<thousandths>\d{3})?)(?P<fraction>\.\d{1,9})?(?![\d.])"
_MAX_TOKENS = 48

# Each begins with a letter or two: the search for those takes no time.
_SPOTS = (
    re.compile(r":[0-5]\d"),
    re.compile(r"时[0-5]\d分"),
    re.compile(r"点[0-5]\d分"),
    re.compile(r"1(?<![\d.]1)\d{9}"),
)
_YEARS = (re.compile(r"20\d\d"),)
_CLOCK = re.compile(rf"{_LABEL}{_TOKEN}{{0,{_MAX_TOKENS}}}?(?:{_TIME}|{_EPOCH})", re.IGNORECASE)
_AFTER = 48  # characters of a time, behind where it was spotted
_REACH = 320  # characters before it in which its name may begin
_MAX_TIMES = 256  # in a text; one with more is a log or a timetable

_ISO = re.compile(
    r"(?<![\d.-])\d{4}-[01]\d-[0-3]\d(?P<joint>[Tt ])(?P<hour>[01]\d|2[0-3])(?P<sep>:)(?P<minute>[0-5]\d)"
    r"(?P<rest>:(?:[0-5]\d|60)(?:[.,]\d{1,9})?)?(?![\d:])(?P<half>(?!))?"
)
_MOMENT = re.compile(r"(?<![\d:+−-])(?:\d\d|xx):(?:[0-5]\d|xx)")

_DATE = (
    rf"(?P<date>(?:(?:{_WEEKDAYS})(?![a-z]),?[ \t])?(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}"
    r"|\d{4}年\d{1,2}月\d{1,2}[日号]"
    rf"|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{4}}|(?:{_MONTHS})[. ]{{1,2}}\d{{1,2}}(?:st|nd|rd|th)?,?[ \t]\d{{4}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[. ]{{1,2}}(?:{_MONTHS})[.,]?[ \t]\d{{4}}))(?!\d)"
)
_DAY = re.compile(rf"{_LABEL}(?:{_PUNCTUATION}|{_WORD}){{0,24}}?{_DATE}", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
NOT_TOLD = "(not told)"


def clock_rules(to: Coarse) -> dict[str, Finds]:
    """The rules about time, by name."""
    return {"clock": partial(_clock, to=to), "timestamps": partial(_timestamps, to=to), "dates": _dates}


def _clock(text: str, to: Coarse) -> Iterator[Span]:
    """Times of day, and Unix times, that are called the current ones."""
    for start, end in regions(text, _SPOTS, _REACH, _AFTER, _MAX_TIMES):
        for found in _CLOCK.finditer(text, start, end):
            is_bare = found["epoch"] is None and not _YEAR.search(text, found.start(), found.start("hour"))
            if is_bare and (found["loose"] or found["today"]):
                continue  # "Today: 09:00 opening" is an agenda
            begins = "epoch" if found["epoch"] is not None else "joint" if found["joint"] is not None else "hour"
            yield Span(found.start(begins), found.end(), _coarser_epoch(found, to) or _coarser(found, to), "clock")


def _timestamps(text: str, to: Coarse) -> Iterator[Span]:
    """An ISO 8601 moment, whatever it is the moment of, where it is the text's only one."""
    if len(_MOMENT.findall(text)) > 1:
        return  # which was before which, and what is how long, the rest of the prompt may be about
    for spot in _SPOTS[0].finditer(text):
        if spot.start() >= 13 and (found := _ISO.match(text, spot.start() - 13)) is not None:
            yield Span(found.start("joint"), found.end(), _coarser(found, to), "timestamps")


def _dates(text: str) -> Iterator[Span]:
    """The current date itself: whoever switches this on has answers of yesterday served today."""
    for start, end in regions(text, _YEARS, _REACH, _AFTER, _MAX_TIMES):
        for found in _DAY.finditer(text, start, end):
            yield Span(found.start("date"), found.end(), NOT_TOLD, "dates")


def _coarser(found: "re.Match[str]", to: Coarse) -> str:
    joint, hour, sep, half = found["joint"] or "", found["hour"], found["sep"], found["half"] or ""
    if to == "hour":
        return f"{joint}{hour}:xx{half}"
    if to == "minute":
        return f"{joint}{hour}{sep}{found['minute']}{'分' if sep != ':' else ''}{half}"
    return f"{joint}xx:xx"  # a model is to know that it is not told, and makes up none


def _coarser_epoch(found: "re.Match[str]", to: Coarse) -> str:
    if found["epoch"] is None:
        return ""
    moment = datetime.fromtimestamp(int(found["epoch"][:10]), UTC)
    return moment.strftime({"day": "%Y-%m-%dTxx:xxZ", "hour": "%Y-%m-%dT%H:xxZ", "minute": "%Y-%m-%dT%H:%MZ"}[to])
