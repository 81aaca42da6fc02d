"""Units of measure, and the guard for those that are asked for: in feet, in metres; per hour, per month."""

import re
from functools import lru_cache

from embeddings.text import plain

_KINDS: dict[str, dict[float, str]] = {
    "time": {
        1e-3: "ms millisecond milliseconds 毫秒",
        1: "s sec secs second seconds 秒 秒钟",
        60: "min mins minute minutes 分钟",
        3600: "h hr hrs hour hours 小时 个小时 钟头",
        86400: "day days 天",
        604800: "week weeks wk 周 星期 个星期 礼拜",
    },
    "months": {1: "month months 个月", 12: "year years yr yrs 年", 120: "decade decades", 1200: "century centuries"},
    "length": {
        1e-3: "mm millimeter millimeters",
        1e-2: "cm centimeter centimeters centimetre centimetres 厘米",
        1: "m meter meters metre metres 米",
        1e3: "km kilometer kilometers kilometre kilometres kms 公里 千米",
        0.0254: "inch inches 英寸",
        0.3048: "ft foot feet 英尺",
        0.9144: "yard yards yd",
        1609.344: "mi mile miles 英里",
    },
    "mass": {
        1e-3: "mg 毫克",
        1: "g gram grams 克",
        500: "斤",
        1e3: "kg kgs kilo kilos kilogram kilograms 公斤 千克",
        453.592: "lb lbs",
        28.3495: "oz ounce ounces 盎司",
        6350.29: "stone stones",
        1e6: "tonne tonnes 吨",
    },
    "pound": {1: "pound pounds 磅"},  # of money or of mass
    "volume": {
        1e-3: "ml milliliter milliliters millilitre millilitres 毫升",
        1e-2: "cl",
        1: "l liter liters litre litres 升 公升",
        3.78541: "gal gallon gallons 加仑",
        0.473176: "pint pints",
        0.946353: "quart quarts",
        0.236588: "cup cups",
        0.0147868: "tbsp tablespoon tablespoons",
        0.00492892: "tsp teaspoon teaspoons",
    },
    "area": {
        1: "sqm m² 平方米 平米 平",
        1e-4: "平方厘米",
        1e6: "平方公里",
        4046.86: "acre acres",
        1e4: "hectare hectares 公顷",
        666.667: "亩",
    },
    "speed": {1: "kmh km/h kph", 1.609344: "mph", 1.852: "knot knots 节"},
    "energy": {1: "wh", 1e3: "kwh 度"},
    "charge": {1: "mah", 1e3: "ah"},
    "heat": {1: "kcal calorie calories 大卡 千卡 卡路里", 0.239: "kj"},
    "pressure": {1: "psi", 14.5038: "bar bars"},
    "bytes": {
        1e3: "kb",
        1e6: "mb megabytes",
        1e9: "gb gigabyte gigabytes",
        1e12: "tb",
        1024: "kib",
        2**20: "mib",
        2**30: "gib",
    },
    "%": {1: "% percent pct percentage"},
    "usd": {1: "$ usd dollar dollars buck bucks 美元", 0.01: "cent cents"},
    "eur": {1: "€ eur euro euros 欧元"},
    "gbp": {1: "£ gbp quid 英镑"},
    "cny": {1: "¥ cny rmb yuan 元 块 块钱 人民币"},
    "jpy": {1: "jpy yen 日元"},
    "inr": {1: "₹ inr rupee rupees rs"},
    "celsius": {1: "°c celsius centigrade 摄氏度"},
    "fahrenheit": {1: "°f fahrenheit 华氏度"},
}
UNITS = {
    name: (kind, factor) for kind, rows in _KINDS.items() for factor, names in rows.items() for name in names.split()
}

# A unit that no number stands before is what is asked for: "in feet", "how many ounces", "per hour".
_ADVERBS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year", "annual": "year"}
_ASKED_UNIT = re.compile(
    r"\b(in|into|to|per|each|every|an?|many|of|than|/) (?:the |square |cubic |us |uk |degrees )?([a-z/]+)\b"
    r"|\b(hourly|daily|weekly|monthly|yearly|annual)(?:ly)?\b"
)
_EVERYDAY = frozenset({"time", "months", "pound", "speed"})  # kinds whose units are words of other uses too
_HAN_UNITS = sorted((unit for unit in UNITS if not unit[0].isascii()), key=len, reverse=True)
_HAN_ASKED_UNIT = re.compile(f"(?:多少|几|每|按|用|成|为)(?:个)?({'|'.join(_HAN_UNITS)})")


def same_units(a: str, b: str) -> bool:
    """Refuse when both texts ask in units of one kind, and in different ones: in feet, in metres; per hour, a month."""
    asked_a, asked_b = _asked_units(a), _asked_units(b)
    return all(asked_b.get(kind, units) == units for kind, units in asked_a.items())


@lru_cache(maxsize=1024)
def _asked_units(text: str) -> dict[str, set[tuple[str, float]]]:
    found: dict[str, set[tuple[str, float]]] = {}
    lowered = plain(text).lower()
    for before, unit, adverb in _ASKED_UNIT.findall(lowered):
        name = _ADVERBS.get(adverb, unit)
        kind, factor = UNITS.get(name, ("", 0.0))
        is_word = (kind in _EVERYDAY and before in ("of", "than")) or (len(name) == 1 and before in ("a", "an", "of"))
        if kind and not is_word:
            _add_unit(found, kind, factor)
    for unit in () if text.isascii() else _HAN_ASKED_UNIT.findall(lowered):
        _add_unit(found, *UNITS[unit])
    return found


def _add_unit(found: dict[str, set[tuple[str, float]]], kind: str, factor: float) -> None:
    """Hours and months are of one kind here: asked for the one, the other is no answer."""
    if kind == "months":
        kind, factor = "time", factor * 2.6e6
    if kind in ("pound", "gbp") or (kind, factor) == ("mass", 453.592):
        found.setdefault("money", set()).add(("pound", 1.0))
        found.setdefault("mass", set()).add(("pound", 1.0))
        return
    found.setdefault(_FAMILY.get(kind, kind), set()).add((kind, factor))


_FAMILY = dict.fromkeys(("celsius", "fahrenheit"), "degrees") | dict.fromkeys(
    ("usd", "eur", "cny", "jpy", "inr"), "money"
)
