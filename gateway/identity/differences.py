"""What keeps two canonical requests apart, in words. Pure.

"temperature: 0.7 here, 1 there"; "system message differs at character 12: ..." Compared as bytes of JSON are, so that
true and 1 are two things; they are in a key.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

SHOWN_CHARS = 60
AROUND = 16  # characters shown before and after the place where texts part

Text = TypeVar("Text", str, bytes)
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs."""

    field: str
    text: str


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Difference]:
    """Every top-level field in which two canonical requests differ, and every message."""
    found: list[Difference] = []
    for key in sorted({*here, *there}):
        mine, theirs = here.get(key, _ABSENT), there.get(key, _ABSENT)
        if not _is_same(mine, theirs):
            found += _SPECIAL.get(key, _field)(key, mine, theirs)
    return found


def likeness(here: bytes, there: bytes) -> float:
    """How much of two canonical requests is the same from either end, 0 to 1: cheap, to find the nearest of many."""
    longest = max(len(here), len(there), 1)
    front = shared(here, there)
    rest = min(len(here), len(there)) - front
    back = shared(here[::-1][:rest], there[::-1][:rest])
    return (front + back) / longest


def shared(here: Text, there: Text) -> int:
    """How far two texts are the same from the start, by halving."""
    low, high = 0, min(len(here), len(there))
    while low < high:
        middle = (low + high + 1) // 2
        if here[low:middle] == there[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _field(key: str, here: Any, there: Any) -> list[Difference]:
    return [Difference(key, _parted_at(*_parting(key, here, there)))]


def _messages(key: str, here: Any, there: Any) -> list[Difference]:
    if len(here) != len(there):
        return [
            Difference(key, f"{len(here)} messages here, {len(there)} there"),
            *(_message(at, here, mine, theirs) for at, mine, theirs in _parted(here, there)),
        ]
    return [_message(at, here, mine, theirs) for at, mine, theirs in _parted(here, there)]


def _parted(here: Sequence[Any], there: Sequence[Any]) -> Iterator[tuple[int, Any, Any]]:
    for at, (mine, theirs) in enumerate(zip(here, there, strict=False)):
        if not _is_same(mine, theirs):
            yield at, mine, theirs


def _message(at: int, messages: Sequence[Any], here: Mapping[str, Any], there: Mapping[str, Any]) -> Difference:
    field, name = f"messages[{at}]", _name(at, messages)
    if here.get("role") != there.get("role"):
        return Difference(field, f"message {at + 1} is the {here.get('role')}'s here, the {there.get('role')}'s there")
    mine, theirs = here.get("content"), there.get("content")
    if isinstance(mine, str) and isinstance(theirs, str) and mine != theirs:
        return Difference(field, f"{name} {_where(mine, theirs)}")
    return Difference(field, _parted_at(*_parting(name, here, there)))


def _name(at: int, messages: Sequence[Any]) -> str:
    role = str(messages[at].get("role"))
    if at == len(messages) - 1:
        return f"last message ({role})"
    is_only = sum(message.get("role") == role for message in messages) == 1
    return f"{role} message" if is_only else f"message {at + 1} ({role})"


def _tools(key: str, here: Any, there: Any) -> list[Difference]:
    mine, theirs = (_named(tools) for tools in (here, there))
    added, missing = sorted({*mine} - {*theirs}), sorted({*theirs} - {*mine})
    said = [f"{name} only here" for name in added] + [f"{name} only there" for name in missing]
    said += [
        _parted_at(*_parting(name, mine[name], theirs[name]))
        for name in sorted({*mine} & {*theirs})
        if not _is_same(mine[name], theirs[name])
    ]
    if not said:
        said = ["in another order"]
    return [Difference(key, f"{key}: {'; '.join(said)}")]


def _named(tools: Any) -> dict[str, Any]:
    """Tools by name; by place where they have none."""
    if not isinstance(tools, list):
        return {}
    found = {}
    for at, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        found[str(name) if name is not None else f"tool {at + 1}"] = tool
    return found


_SPECIAL = {"messages": _messages, "tools": _tools}


def _parting(path: str, here: Any, there: Any) -> tuple[str, Any, Any]:
    """The first place, going in, where two values part, and what is there."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted({*here, *there}):
            mine, theirs = here.get(key, _ABSENT), there.get(key, _ABSENT)
            if not _is_same(mine, theirs):
                return _parting(f"{path}.{key}", mine, theirs)
    if isinstance(here, list) and isinstance(there, list):
        for at, (mine, theirs) in enumerate(zip(here, there, strict=False)):
            if not _is_same(mine, theirs):
                return _parting(f"{path}[{at}]", mine, theirs)
        return f"{path} length", len(here), len(there)
    return path, here, there


def _parted_at(path: str, here: Any, there: Any) -> str:
    """What is at `path`, here and there; of long texts, where they part."""
    if isinstance(here, str) and isinstance(there, str) and max(len(here), len(there)) > SHOWN_CHARS // 2:
        return f"{path} {_where(here, there)}"
    return f"{path}: {_shown(here)} here, {_shown(there)} there"


def _where(here: str, there: str) -> str:
    """Where two texts part, with a few characters of each."""
    at = shared(here, there)
    start = max(0, at - AROUND)
    mine, theirs = (_cut(text, start, at + AROUND) for text in (here, there))
    return f"differs at character {at + 1}: {mine} here, {theirs} there"


def _cut(text: str, start: int, end: int) -> str:
    before, after = "…" if start else "", "…" if end < len(text) else ""
    return _spelled(f"{before}{text[start:end]}{after}")


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = _spelled(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _spelled(value: Any) -> str:
    return orjson.dumps(value).decode()


def _is_same(here: Any, there: Any) -> bool:
    if here is _ABSENT or there is _ABSENT:
        return here is there
    return orjson.dumps(here, option=orjson.OPT_SORT_KEYS) == orjson.dumps(there, option=orjson.OPT_SORT_KEYS)
