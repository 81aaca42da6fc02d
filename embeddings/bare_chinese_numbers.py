"""Chinese numerals in digits, where they surely count: 三十岁 is 30岁, 两千块钱 is 2000元.

Numerals are words of other uses too (三八节, 十全大补汤, 第三者) and are said roughly (三四个, 十几个, 二十多人,
三百五): only one that is spelled out in full and counts or measures something becomes a number.
"""

import re

from embeddings.bare_chinese_words import COUNTED, MEASURES

_DIGITS = dict(zip("零一二三四五六七八九", range(10), strict=True)) | {"两": 2}
_ONE = "[一二三四五六七八九]"
_TENS = f"{_ONE}?十{_ONE}?"
_HUNDREDS = f"{_ONE}百(?:零{_ONE}|{_ONE}十{_ONE}?)?|两百(?:零{_ONE}|{_ONE}十{_ONE}?)?"
_UNDER_THOUSAND = f"(?:{_HUNDREDS}|{_TENS})"
_WHOLE = re.compile(
    f"(?P<wan>{_UNDER_THOUSAND}|[一二两三四五六七八九]|\\d{{1,5}}(?:\\.\\d{{1,4}})?)万"
    f"|(?P<qian>[一二两三四五六七八九])千(?:零(?P<low>{_TENS}|{_ONE})|(?P<rest>{_UNDER_THOUSAND}))?"
    f"|(?P<small>{_UNDER_THOUSAND})|(?P<digit>[二两三四五六七八九])"
)
_AROUND = "零〇一二三四五六七八九十百千万亿两几数多来余半\\d."
_NUMBER = re.compile(f"(?<![{_AROUND}第初周期])(?:{_WHOLE.pattern})(?=(?:{COUNTED}))")
_OF_ONE = re.compile(f"(?<![{_AROUND}第初周期统唯])一(?=(?:{MEASURES}|年代))")
_SUM = re.compile(f"(?<![{_AROUND}])(?:{_WHOLE.pattern})(?=(?:加|减|乘|除)(?:以|上|去)?(?:[{_AROUND}]))")
_OPERAND = re.compile(f"(?<=[加减乘除以])(?:{_WHOLE.pattern})(?![{_AROUND}])")
_YEAR = re.compile("[零〇一二三四五六七八九]{4}(?=年)")
_MONTH = re.compile(f"(?<![{_AROUND}])({_TENS}|{_ONE})月(?:份)?(?=({_TENS}|{_ONE})?[日号]?)")
_DAY = re.compile(f"(?<=\\d月)({_TENS}|{_ONE})(?=[日号])")
_ROUGH = re.compile(f"(?<=[{_AROUND}])[几多来余数]|[几数](?=[十百千万])")
_MONEY = re.compile(r"(?<=\d)块钱|(?<=\d\d)块(?=$|能|可以|够|以[内上下]|左右|预算|买什么|怎么|如何)")
_BRAND = re.compile("三只松鼠|六个核桃|三只羊")


def counted(said: str) -> str:
    """The text with its plain numbers in digits."""
    if _ROUGH.search(said) or _BRAND.search(said):
        return said
    said = _YEAR.sub(lambda m: "".join(str(_DIGITS.get(char, 0)) for char in m.group()), said)
    said = _MONTH.sub(lambda m: f"{_value(m[1])}月", said)
    said = _DAY.sub(lambda m: str(_value(m[1])), said)
    said = re.sub(r"(?<=\d)月份", "月", said)
    said = re.sub(r"(\d月\d{1,2})号(?![线楼门店机])", r"\1日", said)
    for pattern in (_SUM, _OPERAND, _NUMBER):
        said = pattern.sub(_digits, said)
    said = _OF_ONE.sub("1", said)
    return _MONEY.sub("元", said)


def _digits(match: re.Match[str]) -> str:
    part = match.groupdict()
    if part["wan"]:
        value = float(part["wan"]) if part["wan"][0].isdigit() else _value(part["wan"])
        return f"{round(value * 10_000)}"
    if part["qian"]:
        return str(1000 * _DIGITS[part["qian"]] + _value(part["low"] or part["rest"] or ""))
    return str(_value(part["small"] or part["digit"]))


def _value(run: str) -> int:
    """What is spelled below a thousand."""
    total = digit = 0
    for char in run:
        if char in "百十":
            total += (digit or 1) * (100 if char == "百" else 10)
            digit = 0
        else:
            digit = _DIGITS[char]
    return total + digit
