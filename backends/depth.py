"""How deep JSON is nested. orjson reads 1,024 levels and writes 254; what nobody can tell on is refused at the door."""

from typing import Any

MAX_DEPTH = 128  # a request is taken to 64 levels; no answer needs so many


def is_deep(payload: bytes, value: Any) -> bool:
    """Whether `value`, read of `payload`, is nested deeper than that. Most payloads open too few brackets to be."""
    return payload.count(b"{") + payload.count(b"[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH)


def _is_deeper(value: Any, left: int) -> bool:
    if isinstance(value, dict):
        inner = [item for item in value.values() if isinstance(item, dict | list)]
    elif not isinstance(value, list) or _is_of_numbers(value):
        return False
    else:
        inner = [item for item in value if isinstance(item, dict | list)]
    return left == 0 or any(_is_deeper(item, left - 1) for item in inner)


def _is_of_numbers(value: list[Any]) -> bool:
    """Whether it looks like a vector, of which there may be thousands of thousands."""
    return not value or (isinstance(value[0], float | int) and isinstance(value[-1], float | int))
