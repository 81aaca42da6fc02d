"""A request of an Anthropic client, for servers that know OpenAI's words only. Pure.

What only steers Anthropic's service is left out: marks for its cache, thoughts with their signatures, how to think.
Documents become files or texts. What would change the answer and cannot be said is refused by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from backends.chat import ChatRequest, Fields
from backends.errors import RequestRejected

_STEERS = frozenset(
    {"anthropic_beta", "cache_control", "context_management", "diagnostics", "inference_geo", "output_config", "speed"}
    | {"thinking"}
)
_ONLY_THERE = ("container", "mcp_servers")
MAX_USER_CHARS = 64  # OpenAI's limit; agents say more


def plain(request: ChatRequest) -> ChatRequest:
    """The same in OpenAI's words. Raises `RequestRejected`."""
    if request.dialect != "anthropic":
        return request
    messages = [said for place, message in enumerate(request.messages) for said in _message(message, place)]
    return replace(request, messages=tuple(_results_first(messages)), params=_params(request.params), dialect="")


def _params(params: Fields) -> Fields:
    for name in _ONLY_THERE:
        if params.get(name) is not None:
            raise _refused(name, f"{name} needs a model behind Anthropic's API.")
    said = {key: value for key, value in params.items() if key not in _STEERS}
    if "tools" in said:
        said["tools"] = [_tool(tool, place) for place, tool in enumerate(said["tools"])]
    if said.get("service_tier") == "standard_only":
        said["service_tier"] = "default"
    if said.get("reasoning_effort") == "max":
        said["reasoning_effort"] = "xhigh"
    user = said.get("user")
    if isinstance(user, str) and len(user) > MAX_USER_CHARS:
        said["user"] = blake2b(user.encode("utf-8", "surrogatepass"), digest_size=MAX_USER_CHARS // 2).hexdigest()
    return said


def _tool(tool: Mapping[str, Any], place: int) -> Fields:
    if tool.get("type") != "function":
        raise _refused(f"tools[{place}]", f"A tool of type {tool.get('type')!r} needs a model behind Anthropic's API.")
    return {"type": "function", "function": tool["function"]}


def _message(message: Fields, place: int) -> Iterator[Fields]:
    role, param = message["role"], f"messages[{place}].content"
    content = _content(message.get("content"), param)
    if role == "assistant":
        calls = [{key: call[key] for key in ("id", "type", "function")} for call in message.get("tool_calls") or ()]
        yield {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}
    elif role == "tool":
        yield from _result(message, content)
    else:
        yield {"role": role, "content": content}


def _result(message: Fields, content: Any) -> Iterator[Fields]:
    """Of a result the texts; pictures and files follow it as a user's, who alone may show some."""
    parts = content if isinstance(content, list) else []
    texts, others = _by_kind(parts)
    yield {
        "role": "tool",
        "tool_call_id": message["tool_call_id"],
        "content": _folded(texts) if isinstance(content, list) else content,
    }
    if others:
        yield {"role": "user", "content": others}


def _by_kind(parts: Sequence[Fields]) -> tuple[list[Fields], list[Fields]]:
    return [part for part in parts if part["type"] == "text"], [part for part in parts if part["type"] != "text"]


def _results_first(messages: Sequence[Fields]) -> Iterator[Fields]:
    """Between the results of one answer's calls nothing may stand: what they show comes after all of them."""
    asked: list[Fields] = []  # since the last answer
    for message in messages:
        if message["role"] != "assistant":
            asked.append(message)
            continue
        yield from sorted(asked, key=_is_no_result)
        asked.clear()
        yield message
    yield from sorted(asked, key=_is_no_result)


def _is_no_result(message: Fields) -> bool:
    return bool(message["role"] != "tool")


def _content(content: Any, param: str) -> Any:
    if not isinstance(content, list):
        return content
    return _folded([said for part in content for said in _part(part, param)])


def _folded(parts: list[Fields]) -> Any:
    """A single text as a text, which every server takes; nothing as an empty one."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: Mapping[str, Any], param: str) -> Iterator[Fields]:
    kind = part["type"]
    if kind == "text":
        yield {"type": "text", "text": part["text"]}
    elif kind == "image_url":
        yield {"type": "image_url", "image_url": part["image_url"]}
    elif kind == "document":
        yield from _document(part, param)
    elif kind == "search_result":
        yield from _texts([{"type": "text", "text": str(part.get("title") or "")}, *_objects(part.get("content"))])
    else:
        raise _refused(param, f"A block of type {kind!r} needs a model behind Anthropic's API.")


def _document(part: Mapping[str, Any], param: str) -> Iterator[Fields]:
    source, title = part["source"], part.get("title")
    named = [{"type": "text", "text": title}] if isinstance(title, str) else []
    if source["type"] == "text" and isinstance(source.get("data"), str):
        yield from _texts([*named, {"type": "text", "text": source["data"]}])
    elif source["type"] == "content":
        content = source.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else _objects(content)
        yield from _texts([*named, *blocks])
    elif source["type"] == "base64":
        data = f"data:{source['media_type']};base64,{source['data']}"
        yield {"type": "file", "file": {"filename": title or "document.pdf", "file_data": data}}
    else:
        raise _refused(param, f"A document with a source of type {source['type']!r} needs Anthropic's API.")


def _texts(blocks: Sequence[Mapping[str, Any]]) -> Iterator[Fields]:
    for block in blocks:
        if isinstance(text := block.get("text"), str) and text:
            yield {"type": "text", "text": text}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _refused(param: str, what: str) -> RequestRejected:
    return RequestRejected(what, param=param)
