"""A whole answer's message as content blocks. Pure."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from backends.chat import Fields


def blocks_of(message: Fields) -> list[Fields]:
    """Thoughts, what is said, calls of tools; or the blocks themselves, where an upstream told them."""
    if blocks := objects(message.get("content_blocks")):
        return list(blocks)
    return [*_thoughts(message), *_texts(message), *(_tool_use(call) for call in calls_of(message))]


def _thoughts(message: Fields) -> Iterator[Fields]:
    if blocks := objects(message.get("thinking_blocks")):
        yield from blocks
    elif thought := reasoning_of(message):  # of a model that signs nothing
        yield {"type": "thinking", "thinking": thought, "signature": ""}


def reasoning_of(fields: Fields) -> str:
    """What was thought, by either of the names servers have for it."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(said := fields.get(name), str) and said:
            return said
    return ""


def _texts(message: Fields) -> Iterator[Fields]:
    for name in ("content", "refusal"):
        if said := text_of(message.get(name)):
            yield {"type": "text", "text": said}


def text_of(content: Any) -> str:
    """A text, or what the text parts of a list say."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in objects(content) if part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def objects(value: Any) -> Sequence[Mapping[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def calls_of(message: Fields) -> Iterator[Fields]:
    """The calls of tools; one of OpenAI's older kind is one, too."""
    yield from objects(message.get("tool_calls"))
    old = message.get("function_call")
    if isinstance(old, Mapping):
        yield {"function": old}


def _tool_use(call: Fields) -> Fields:
    return {**opening_of(call), "input": _input(arguments_of(call))}


def opening_of(call: Fields) -> dict[str, Any]:
    """The block of a call, before its arguments."""
    kept = {key: value for key, value in call.items() if key not in ("id", "type", "index", "function", "custom")}
    call_id = call.get("id")
    return {
        **kept,
        "type": "tool_use",
        "id": call_id if isinstance(call_id, str) and call_id else f"toolu_{uuid.uuid4().hex[:24]}",
        "name": str(_function(call).get("name") or ""),
        "input": {},
    }


def arguments_of(call: Fields) -> str:
    """What is there of the arguments."""
    arguments = _function(call).get("arguments")
    return arguments if isinstance(arguments, str) else ""


def _function(call: Fields) -> Mapping[str, Any]:
    found = call.get("function") or call.get("custom")
    return found if isinstance(found, Mapping) else {}


def _input(arguments: str) -> Mapping[str, Any]:
    """The arguments of a call; what a model cut short or mangled is kept as the text that it is."""
    try:
        read = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {"arguments": arguments}
    return read if isinstance(read, Mapping) else {"arguments": read}
