"""A request's messages as Anthropic's system blocks and turns. Pure; what cannot be said is refused by name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from backends.chat import Fields
from backends.errors import RequestRejected

_SYSTEM = ("system", "developer")
_OTHERS = ("input_audio", "input_file", "input_image", "input_text", "audio_url", "video_url", "audio", "video")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_PLAIN_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ODD_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_KEPT_OF_AN_ID = 40  # characters, of an id that has to change


def system_and_turns(messages: Sequence[Fields]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What stands above the turns, and turns of blocks. Raises `RequestRejected`.

    What one side says in several messages is one turn, so a tool's results stand together.
    """
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        role = message.get("role")
        try:
            blocks = list(_system(message) if role in _SYSTEM else _blocks(message))
        except RequestRejected as error:
            raise refused(f"messages[{number}].{error.param}", error.message) from error
        side = "assistant" if role == "assistant" else "user"
        if role in _SYSTEM and (turns == [] or "content_blocks" not in message):
            system += blocks
        elif role in _SYSTEM:  # said in this API's own words, in its place
            turns.append({"role": "system", "content": blocks})
        elif not blocks:
            continue  # it says nothing, and the API refuses empty blocks
        elif turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": side, "content": blocks})
    return system, turns


def refused(param: str, what: str) -> RequestRejected:
    """A refusal that names the field."""
    return RequestRejected(what, param=param)


def _system(message: Fields) -> Iterator[dict[str, Any]]:
    if "content_blocks" in message:
        yield from _verbatim(message)
        return
    for block in _texts(message):
        if block.get("type") != "text":
            raise refused("content", "This model takes only text in system and developer messages.")
        yield block


def _blocks(message: Fields) -> Iterator[dict[str, Any]]:
    role = message.get("role")
    if role == "tool":
        yield _tool_result(message)
    elif role == "user":
        yield from _texts(message)
    elif role == "assistant" and message.get("content_blocks"):
        yield from _verbatim(message)
    elif role == "assistant":
        yield from _thoughts(message.get("thinking_blocks"))
        yield from _texts(message)
        for call in _list_of_objects(message.get("tool_calls"), "tool_calls"):
            yield _tool_use(call)
    else:
        raise refused("role", f"A message of role {role!r} cannot be said to this model.")


def _verbatim(message: Fields) -> Iterator[dict[str, Any]]:
    """A turn in the API's own words, which the rest of the message says as far as others understand it."""
    return (dict(block) for block in _list_of_objects(message.get("content_blocks"), "content_blocks"))


def _thoughts(blocks: Any) -> Iterator[dict[str, Any]]:
    """As `reply` gave them: the API wants them back unchanged."""
    return (dict(block) for block in _list_of_objects(blocks, "thinking_blocks"))


def _list_of_objects(value: Any, param: str) -> Sequence[Mapping[str, Any]]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise refused(param, f"{param} must be a list of objects.")
    return value


def _texts(message: Fields) -> Iterator[dict[str, Any]]:
    """The content of a message as blocks, after the name of who says it, a mark on the whole message on the last."""
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = [block for part in _list_of_objects(content, "content") if (block := _block(part)) is not None]
    name = message.get("name")
    if name is not None and not isinstance(name, str):
        raise refused("name", "name must be a text.")
    if blocks and name and name.strip():
        blocks.insert(0, {"type": "text", "text": f"{name}:"})  # the API has no field for it
    if blocks and "cache_control" in message:
        blocks[-1] = {**blocks[-1], "cache_control": message["cache_control"]}
    yield from blocks


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = part.get("type")
    mark = {"cache_control": part["cache_control"]} if "cache_control" in part else {}
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if part.get("citations"):
            mark = {**mark, "citations": part["citations"]}
        return {"type": "text", "text": text, **mark} if isinstance(text, str) and text.strip() else None
    if kind == "image_url":
        return {"type": "image", "source": _source(part.get("image_url")), **mark}
    if kind == "file":
        return {"type": "document", "source": _document(part.get("file")), **mark}
    if kind not in _OTHERS:  # already in the API's own words: image, document, search_result, tool_reference
        return dict(part)
    raise refused("content", f"A part of type {kind!r} cannot be said to this model.")


def _source(image: Any) -> dict[str, Any]:
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise refused("content", "An image_url has no url.")
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    return _inline(url)


def _document(file: Any) -> dict[str, Any]:
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(data, str):
        raise refused("content", "A file must come with its file_data.")
    return _inline(data)


def _inline(url: str) -> dict[str, Any]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise refused("content", "Inline data must be a base64 data URL.")
    return {"type": "base64", "media_type": found[1], "data": found[2]}


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping):
        raise refused("tool_calls", "A tool call is not a call of a function.")
    try:
        given = orjson.loads(function.get("arguments") or "{}")
    except (orjson.JSONDecodeError, TypeError) as error:
        raise refused("tool_calls", "The arguments of a tool call are not JSON.") from error
    if not isinstance(given, dict):
        raise refused("tool_calls", "The arguments of a tool call are not an object.")
    kept = {key: call[key] for key in ("cache_control", "caller", "toolset_name") if key in call}
    call_id = _id(call.get("id"), "tool_calls")
    return {"type": "tool_use", "id": call_id, "name": function.get("name"), "input": given, **kept}


def _tool_result(message: Fields) -> dict[str, Any]:
    mark = {key: message[key] for key in ("is_error", "toolset_name", "cache_control") if key in message}
    content = list(_texts({"content": message.get("content")}))
    result = {"type": "tool_result", "tool_use_id": _id(message.get("tool_call_id"), "tool_call_id")}
    return {**result, **({"content": content} if content else {}), **mark}


def _id(given: Any, param: str) -> str:
    """Others' ids may have characters this API refuses. A call and its result change alike, and no two into one."""
    if not isinstance(given, str):
        raise refused(param, "The id of a tool call must be a text.")
    if _PLAIN_ID.fullmatch(given):
        return given
    digest = blake2b(given.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{_ODD_IN_AN_ID.sub('_', given)[:_KEPT_OF_AN_ID]}_{digest}"
