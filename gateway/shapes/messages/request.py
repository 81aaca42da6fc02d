"""A message request in the chat vocabulary. Pure.

Turns become messages and tools functions, as OpenAI spells them, so an OpenAI client that says the same asks the same.
What OpenAI has no word for keeps Anthropic's, where an Anthropic upstream's flavour looks for it: marks
(`cache_control`) on parts, tools and calls; `thinking_blocks` with their signatures; `is_error` of a result. A turn
whose blocks are in an order or of a kind that a message cannot say carries them all as `content_blocks`. Fields of the
body without a counterpart stay in `params` under their own names.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from backends.chat import ChatRequest, Fields
from gateway.errors import InvalidRequest
from gateway.shapes.messages.body import MessagesBody
from gateway.wire import GATEWAY_FIELDS, MAX_MESSAGES, ChatBody, first_complaint, read_object

Block = Mapping[str, Any]

_THOUGHTS = ("thinking", "redacted_thinking")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_SAYS_NOTHING = {"model": "-", "messages": [{"role": "user", "content": ""}]}
_SAID_OTHERWISE = frozenset(
    {"model", "messages", "stream", "system", "stop_sequences", "tools", "tool_choice", "metadata", "output_config"}
)


def parse_messages(raw: bytes) -> tuple[ChatRequest, Fields]:
    """The request, and the body it came in. Raises `InvalidRequest` naming the field."""
    body = read_object(raw)
    turns = body.get("messages")
    if isinstance(turns, list) and len(turns) > MAX_MESSAGES:
        raise InvalidRequest(f"messages holds {len(turns)} messages; at most {MAX_MESSAGES} are taken.", "messages")
    try:
        MessagesBody.model_validate(body)
        params = _params(body)
        ChatBody.model_validate({**_SAYS_NOTHING, **params})  # OpenAI's fields mean here what they mean there
    except ValidationError as error:
        raise first_complaint(error) from error
    messages = (*_system(body.get("system")), *(message for turn in body["messages"] for message in _messages(turn)))
    if not messages:
        raise InvalidRequest("messages say nothing.", "messages")
    return ChatRequest(
        model=body["model"],
        messages=messages,
        params=params,
        stream=bool(body.get("stream")),
        dialect="anthropic",
    ), body


# -- turns -----------------------------------------------------------------------------------------------------------


def _system(said: str | Sequence[Block] | None) -> Iterator[Fields]:
    if said:
        yield {"role": "system", "content": _content(_as_blocks(said))}


def _messages(turn: Fields) -> Iterator[Fields]:
    role, blocks = turn["role"], _as_blocks(turn["content"])
    if role == "assistant":
        yield _answer(blocks)
    elif role == "system":  # in the middle of a conversation: its place means something
        yield {"role": "system", "content": _content(blocks), "content_blocks": list(blocks)}
    else:
        yield from _asked(blocks)


def _as_blocks(content: str | Sequence[Block]) -> Sequence[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _asked(blocks: Sequence[Block]) -> Iterator[Fields]:
    """A user's turn: results of tools are messages of their own, in their places."""
    said: list[Block] = []
    for block in blocks:
        if block["type"] != "tool_result":
            said.append(block)
            continue
        if said:
            yield {"role": "user", "content": _content(said)}
            said = []
        yield _result(block)
    if said or not blocks:
        yield {"role": "user", "content": _content(said)}


def _result(block: Block) -> Fields:
    content = block.get("content")
    said = _content(_as_blocks(content)) if content else ""
    kept = {key: value for key, value in block.items() if key not in ("type", "tool_use_id", "content")}
    if kept.get("is_error") is False:  # as if it were not said
        del kept["is_error"]
    return {**kept, "role": "tool", "tool_call_id": block["tool_use_id"], "content": said}


def _content(blocks: Sequence[Block]) -> Any:
    """The content of a message: a text where it is one and nothing else is said of it."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return [_part(block) for block in blocks]


def _part(block: Block) -> Block:
    """Pictures as OpenAI has them; every other block is a part as it is."""
    source = block.get("source")
    if (
        block["type"] != "image"
        or not isinstance(source, Mapping)
        or block.keys() - {"type", "source", "cache_control"}
    ):
        return block
    if source["type"] == "base64" and source.keys() == {"type", "media_type", "data"}:
        url = f"data:{source['media_type']};base64,{source['data']}"
    elif source["type"] == "url" and source.keys() == {"type", "url"} and not source["url"].startswith("data:"):
        url = source["url"]
    else:
        return block
    mark = {"cache_control": block["cache_control"]} if "cache_control" in block else {}
    return {"type": "image_url", "image_url": {"url": url}, **mark}


def _answer(blocks: Sequence[Block]) -> Fields:
    """An assistant's turn."""
    thoughts = [block for block in blocks if block["type"] in _THOUGHTS]
    texts = [block for block in blocks if block["type"] == "text"]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": _content(texts) if texts else None}
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = [_call(block) for block in calls]
    if [*thoughts, *texts, *calls] != list(blocks) or any(
        text.keys() - {"type", "text", "cache_control"} for text in texts
    ):
        message["content_blocks"] = list(blocks)
    return message


def _call(block: Block) -> Fields:
    function = {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()}
    kept = {key: value for key, value in block.items() if key not in ("type", "id", "name", "input")}
    return {**kept, "id": block["id"], "type": "function", "function": function}


# -- fields ----------------------------------------------------------------------------------------------------------


def _params(body: Fields) -> Fields:
    given = {key: value for key, value in body.items() if value is not None}
    apart = _SAID_OTHERWISE | GATEWAY_FIELDS
    params: dict[str, Any] = {key: value for key, value in given.items() if key not in apart}
    if stops := given.get("stop_sequences"):
        params["stop"] = stops
    if isinstance(user := given.get("metadata", {}).get("user_id"), str) and user:
        params["user"] = user
    if tools := given.get("tools"):
        params["tools"] = [_tool(tool) for tool in tools]
        params |= _tool_choice(given.get("tool_choice"))
    return {**params, **_output(given.get("output_config", {}))}


def _tool(tool: Mapping[str, Any]) -> Fields:
    if tool.get("type") not in (None, "custom"):
        return tool  # one of the API's own: only its servers can run it
    function = {key: tool[key] for key in ("name", "description", "strict") if tool.get(key) is not None}
    apart = ("type", "name", "description", "strict", "input_schema")
    kept = {key: value for key, value in tool.items() if key not in apart and value is not None}
    return {**kept, "type": "function", "function": {**function, "parameters": tool["input_schema"]}}


def _tool_choice(choice: Mapping[str, Any] | None) -> Fields:
    if choice is None:
        return {}
    kind = choice.get("type")
    if kind == "tool":
        said: Any = {"type": "function", "function": {"name": choice["name"]}}
    elif isinstance(kind, str) and kind in _CHOICES:
        said = _CHOICES[kind]
    else:
        raise InvalidRequest("tool_choice.type must be auto, any, tool or none.", "tool_choice")
    single = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") is True else {}
    return {"tool_choice": said, **single}


def _output(config: Mapping[str, Any]) -> Fields:
    """How hard to think, and the form of the answer."""
    left = {key: value for key, value in config.items() if value is not None}
    said: dict[str, Any] = {}
    if isinstance(left.get("effort"), str):
        said["reasoning_effort"] = left.pop("effort")
    form = left.get("format")
    if isinstance(form, Mapping) and form.keys() == {"type", "schema"} and form["type"] == "json_schema":
        del left["format"]
        named = {"name": "answer", "schema": form["schema"], "strict": True}
        said["response_format"] = {"type": "json_schema", "json_schema": named}
    return {**said, **({"output_config": left} if left else {})}
