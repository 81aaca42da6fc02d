"""Where a prompt is kept: `cache_control` on the last block of each part that comes again. Pure.

    tools | system | turns ........ a question | an answer | the newest question
        ^        ^                           ^                                ^

At most four, as the API allows. What the last request wrote ended with the question before the newest, so that mark
finds it; the newest one writes what the next request will find. A first question is not marked: it may be the only
one, and a write costs a quarter more than reading it. A caller who marks anything has thought about it, so then
nothing is added; that also keeps his long-lived marks before short-lived ones, as they must be.
"""

from collections.abc import Iterable, Iterator
from typing import Any

MARK = {"type": "ephemeral"}
_UNMARKABLE = ("thinking", "redacted_thinking")


def marked(body: dict[str, Any]) -> dict[str, Any]:
    """The body with marks of ours, unless it has some."""
    if "cache_control" in body or any("cache_control" in block for block in _blocks(body)):
        return body
    parts: dict[str, Any] = {key: _marked_last(body[key]) for key in ("tools", "system") if body.get(key)}
    turns = list(body["messages"])
    for number in _stable(turns):
        turns[number] = {**turns[number], "content": _marked_last(turns[number]["content"])}
    return {**body, **parts, "messages": turns}


def _stable(turns: list[dict[str, Any]]) -> Iterable[int]:
    """The turns to mark: of a conversation under way, the newest question and the one before it."""
    questions = [number for number, turn in enumerate(turns) if turn["role"] == "user"]
    return questions[-2:] if len(questions) > 1 else ()


def _marked_last(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blocks with a mark on the last that can have one."""
    for number in range(len(blocks) - 1, -1, -1):
        if blocks[number].get("type") not in _UNMARKABLE:
            return [*blocks[:number], {**blocks[number], "cache_control": MARK}, *blocks[number + 1 :]]
    return blocks


def _blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that can carry a mark."""
    yield from body.get("tools", ())
    yield from body.get("system", ())
    for turn in body["messages"]:
        for block in turn["content"]:
            yield block
            inner = block.get("content")
            yield from (part for part in inner if isinstance(part, dict)) if isinstance(inner, list) else ()
