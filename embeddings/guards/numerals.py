"""Rewrite numbers that are spelled in words, English or Chinese, in digits."""

import re
from functools import lru_cache

from embeddings.text import HAN, letter_runs

UNSURE = "\ue000"  # stands before a number that may be none: "which one", "the first time", 一


def _counted(names: str, start: int = 0, step: int = 1) -> dict[str, int]:
    return {name: start + step * n for n, name in enumerate(names.split())}


_ONES = _counted(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = _counted("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
_ORDINALS = _counted(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
    " sixteenth seventeenth eighteenth nineteenth twentieth",
    1,
)
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4} | {
    name: n for name, n in _ORDINALS.items() if 5 <= n <= 10
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ALONE = {"dozen": 12.0, "half": 0.5, "twice": 2.0, "thrice": 3.0}
_ANY = "|".join(sorted([*_ONES, *_TENS, *_ORDINALS, *_SCALES, *_ALONE], key=len, reverse=True))
_RUN = re.compile(
    rf"(?<![\w.])(?:(?:{_ANY})(?:s(?=\b))?)(?:(?:-|\s+and\s+|\s+)(?:{_ANY})s?\b)*(?!\w)",
    re.IGNORECASE,
)
_SECOND_OF_TIME = re.compile(r"\b(?:a|per|each|every|one|split|half|\d+)[\s-]+$|/\s*$", re.IGNORECASE)
_HALF_UNIT = re.compile(r"\bhalf an? (hour|minute|day|year|mile)\b", re.IGNORECASE)
_LIKE_FIVE = re.compile(r"\blike i(?:'m| am) (?:five|5)\b|\beli5\b", re.IGNORECASE)  # a tone, not a number
_PART = re.compile(
    rf"\b(an?|one|two|three|four|five|\d+)[ -]({'|'.join(_PARTS)})(s?)\b(?=( (?:of|as|more|less|fewer|the)\b)?)",
    re.IGNORECASE,
)
_TIMES = re.compile(r"\b(?:double[ds]?|doubling)\b", re.IGNORECASE)
_HALVES = {"hour": "30 minutes", "minute": "30 seconds", "day": "12 hours", "year": "6 months", "mile": "0.5 miles"}
_ROMAN = re.compile(r"(?<![\w.'])(?:I{2,3}|IV|VI{1,3}|IX|X[IV]+|XI{1,3}|XX[IVX]*)(?![\w'])")
_NUMBERED = re.compile(
    r"\b((?:world )?war|chapter|volume|phase|act) (i{1,3}|iv|vi{0,3}|ix|xi{0,3})\b(?! (?:am|was|have|do|can)\b)",
    re.IGNORECASE,
)


_NUMBER_WORDS = frozenset(
    word + end for word in (*_ONES, *_TENS, *_ORDINALS, *_SCALES, *_ALONE, *_PARTS, "double") for end in ("", "s")
) | frozenset(["doubled", "doubling", "war", "chapter", "volume", "phase", "act"])
_NUMERALS = re.compile(r"\d|[IVX]{2}")


@lru_cache(maxsize=1024)
def in_digits(text: str) -> str:
    """The text with spelled numbers in digits; what may be no number is marked `UNSURE`."""
    if text.isascii() and _NUMBER_WORDS.isdisjoint(letter_runs(text)) and _NUMERALS.search(text) is None:
        return text
    text = _LIKE_FIVE.sub(" ", text)
    text = _HALF_UNIT.sub(lambda m: _HALVES[m[1].lower()], text)
    text = _TIMES.sub("twice", _PART.sub(_part, text))
    text = _NUMBERED.sub(lambda m: f"{m[1]} {_roman(m[2].upper())}", text)
    text = _ROMAN.sub(lambda m: str(_roman(m.group())), text)
    text = _RUN.sub(lambda m: _spelled(m.group(), text[max(0, m.start() - 12) : m.start()]), text)
    return _chinese_in_digits(text) if _HAS_CHINESE.search(text) else text


def _part(match: re.Match[str]) -> str:
    """A sixth of, two thirds: 1/6, 2/3. "A third time" is none, nor is "one second"."""
    count, part, plural, behind = match.groups()
    if not (behind or plural) or (part.lower() in ("second", "half") and not behind and not plural):
        return match.group()
    top = 1 if count.lower() in ("a", "an") else int(count) if count.isdigit() else _ONES[count.lower()]
    return f"{top}/{_PARTS[part.lower()]}"


def _roman(numeral: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10}[letter] for letter in numeral]
    return sum(-v if any(later > v for later in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


_VAGUE = frozenset({"one", "ones", "first", "dozens", "hundreds", "thousands", "millions", "billions"})


def _spelled(run: str, before: str) -> str:
    """The numbers of a run of number words. "twenty-one" is one, "one two three" are three."""
    parts = [part for part in re.split(r"[\s-]+", run.lower()) if part != "and"]
    if parts[0] in ("second", "seconds") and (parts[0] == "seconds" or _SECOND_OF_TIME.search(before)):
        return run  # a unit of time
    numbers: list[float] = []
    current: float | None = None
    total = 0.0
    for part in parts:
        word = part if part in _SCALES or part in _ONES or part in _ORDINALS else part.removesuffix("s")
        if word in _SCALES:
            scaled = (1.0 if current is None else current) * _SCALES[word]
            total, current = (total, scaled) if word == "hundred" else (total + scaled, None)
        elif current is not None and word in _ORDINALS and _ORDINALS[word] > 2 and 0 < current < 20:
            total, current = total + current / _ORDINALS[word], None  # two thirds
        else:
            value = float(_ALONE.get(word) or _TENS.get(word) or _ORDINALS.get(word) or _ONES.get(word, 0))
            if current is not None and not _joins(current, value):
                numbers.append(total + current)
                total, current = 0.0, None
            current = value if current is None else current + value
    numbers.append(total + (current or 0.0))
    mark = UNSURE if run.lower() in _VAGUE else ""
    return mark + " ".join(f"{number:.9g}" for number in numbers)


def _joins(current: float, value: float) -> bool:
    """Whether `value` goes on the number spelled so far: twenty + one, two hundred + five."""
    return (current % 100 == 0 and current > 0 and value < 100) or (
        current % 10 == 0 and current % 100 >= 20 and value < 10
    )


_DIGITS = dict(zip("零一二三四五六七八九", range(10), strict=True)) | {"〇": 0, "两": 2}
_CHINESE_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_NUMERAL = "零〇一二三四五六七八九两十百千万亿"
_HAS_CHINESE = re.compile(rf"[{_NUMERAL}半点]")
# Characters that make a single numeral a number, and words in which a numeral is none.
_COUNTED = "个只条次天年月日号点分秒元块万亿度%楼层人岁倍章节集本页张家星寸种位部款台件间小公里米斤周期"
_COUNTED += "步句段项门座口杯瓶遍名行列升英毫厘克吨亩盎磅平立顿碗盘首封篇道根把辆套双首"
_NO_NUMBER = re.compile(
    "一下|一些|一样|一起|一直|一定|一般|一共|一边|一旦|一切|一致|一方面|一点|统一|唯一|万一|之一|进一步|十分(?!钟)|千万|"
    "百度|百科|百货|四川|三明治|三星|九寨|七夕|五一|十一|双十一|一会|一路|一家(?!人)|一名|一种|一个|同一|哪一|另一|每一|任一"
)
_PERCENT = re.compile(rf"百分之([{_NUMERAL}\d.]+)")
_MIXED = re.compile(r"(?<!\d)(\d{1,15}(?:\.\d{1,15})?)([万亿千百])(?!分)")
_CHINESE_RUN = re.compile(rf"[{_NUMERAL}]+")
_CHINESE_CLOCK = re.compile(
    r"(上午|早上|凌晨|中午|下午|晚上)?(\d{1,2})点(?:(半)|(\d{1,2})分?)?(?!\d|建议|理由|原因|方法)"
)


def _chinese_in_digits(text: str) -> str:
    text = _PERCENT.sub(lambda m: f"{_chinese_number(m[1])}%", text)
    text = text.replace("半小时", "30分钟").replace("半个小时", "30分钟").replace("半年", "6个月")
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group())
        return "\ue001"

    text = _NO_NUMBER.sub(keep, text.replace("\ue001", " "))
    text = _CHINESE_RUN.sub(lambda m: _chinese_run(m, text), text)
    text = _MIXED.sub(lambda m: f"{float(m[1]) * _CHINESE_SCALES[m[2]]:.12g}", text)
    text = _CHINESE_CLOCK.sub(_chinese_clock, text)
    return re.sub("\ue001", lambda _: kept.pop(0), text) if kept else text


def _chinese_run(match: re.Match[str], text: str) -> str:
    run = match.group()
    before, after = text[: match.start()][-1:], text[match.end() :][:1]
    if before.isdigit() and run[0] in _CHINESE_SCALES:
        return run  # 3万: read with its digits
    if (
        len(run) == 1
        and before not in ("第", "周", "期", "初", "卷", "章", "以", "加", "减", "乘")
        and after not in _COUNTED
    ):
        return (
            run if run in "百千万亿十" or re.match(rf"[{HAN}]", before + after) else f" {UNSURE}{_chinese_number(run)} "
        )
    mark = UNSURE if run == "一" else ""
    return f" {mark}{_chinese_number(run)}"


def _chinese_number(run: str) -> str:
    if re.fullmatch(r"[\d.]+", run):
        return run
    if not any(char in _CHINESE_SCALES for char in run):
        return "".join(str(_DIGITS.get(char, char)) for char in run)  # 二〇二四: digit by digit
    total = section = digit = 0
    for char in run:
        if char in _DIGITS:
            digit = _DIGITS[char]
        elif _CHINESE_SCALES[char] >= 10**4:
            total = (total + section + digit) * _CHINESE_SCALES[char]
            section = digit = 0
        else:
            section += (digit or 1) * _CHINESE_SCALES[char]
            digit = 0
    return str(total + section + digit)


def _chinese_clock(match: re.Match[str]) -> str:
    hour = int(match[2]) % 24
    hour += 12 if match[1] in ("下午", "晚上") and hour < 12 else 0
    return f" {hour}:{30 if match[3] else int(match[4] or 0):02d} "
