"""How deep JSON is nested. orjson reads 1,024 levels and writes 254; what nobody can tell on is refused at the door."""

from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 128  # a request is taken to 64 levels; no answer needs so many


def is_deep(payload: bytes, value: Any) -> bool:
    """Whether `value`, read of `payload`, is nested deeper than that. Most payloads open too few brackets to be."""
    return payload.count(b"{") + payload.count(b"[") > MAX_DEPTH and _is_deeper(value)


def _is_deeper(value: Any) -> bool:
    """Level by level, which takes half the time of a call for each object."""
    level = _holding([value])
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [one for each in level for one in _holding(each.values() if isinstance(each, dict) else each)]
    return bool(level)


def _holding(values: Iterable[Any]) -> list[Any]:
    """Those that may hold others."""
    return [one for one in values if isinstance(one, dict) or (isinstance(one, list) and not _is_of_numbers(one))]


def _is_of_numbers(value: list[Any]) -> bool:
    """Whether it looks like a vector, of which there may be thousands of thousands."""
    return not value or (isinstance(value[0], float | int) and isinstance(value[-1], float | int))
