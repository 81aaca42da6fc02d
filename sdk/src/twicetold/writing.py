"""Arguments as JSON. What cannot be sent is told by the name of its field before anything is. Pure."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

_LISTS = (list, tuple)  # what `json` writes as a list


def dump(body: Any) -> bytes:
    """Raises `ValueError` or `TypeError` that names the field: NaN is no JSON, half a character is no text."""
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError) as error:
        with suppress(RecursionError):  # of a circle, which has no place to name
            _check(body, "")
        raise error


def _check(value: Any, place: str) -> None:
    """Raises at the first value that cannot be written."""
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_text(str(key), place)
            _check(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, _LISTS):
        for at, inner in enumerate(value):
            _check(inner, f"{place}[{at}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: {value} cannot be sent as JSON")
    elif value is not None and not isinstance(value, bool | int | float):
        raise TypeError(f"{place}: {type(value).__name__} cannot be sent as JSON")


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place}: half a character (a lone surrogate) at {error.start} cannot be sent") from error


def wanted(name: str, what: str, value: Any) -> TypeError:
    """The complaint about an argument of another kind."""
    return TypeError(f"{name}: {what} is wanted, not {type(value).__name__}")


def several(name: str, what: str, value: Any) -> Any:
    """`value`, if it is one of many things. A text, or one object, is iterable as well and is not meant."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise wanted(name, what, value)
    return value


def listed(name: str, what: str, value: Any) -> Sequence[Any]:
    """`value` as a list."""
    return list(several(name, what, value))
