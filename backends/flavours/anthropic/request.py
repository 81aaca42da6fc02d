"""A chat request as a body of Anthropic's Messages API. Pure; what it cannot say is refused, not left out quietly.

Left out are fields that steer OpenAI's service or its sampling and have no counterpart: `seed`, penalties,
`logit_bias`, `store` and the like. A field known to neither side goes along as it came, for the API to judge.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from backends.chat import ChatRequest, Fields
from backends.errors import RequestRejected
from backends.flavours.anthropic.models import takes_sampling, usual_max_tokens

_NO_COUNTERPART = frozenset(
    {
        "frequency_penalty", "function_call", "logit_bias", "logprobs", "max_completion_tokens", "metadata",
        "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier",
        "stop", "store", "stream_options", "temperature", "timeout", "tool_choice", "tools", "top_k", "top_logprobs",
        "top_p", "user", "verbosity",
    }
)  # fmt: skip
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_SYSTEM = ("system", "developer")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_ODD_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def message_body(request: ChatRequest, max_tokens: int = 0) -> dict[str, Any]:
    """The body, without marks for its cache. Raises `RequestRejected`.

    `max_tokens`: for a caller who names none; 0 for what the model takes.
    """
    params = {key: value for key, value in request.params.items() if value is not None}
    _refuse_what_it_cannot(params)
    body: dict[str, Any] = {key: value for key, value in params.items() if key not in _NO_COUNTERPART}
    body |= {"model": request.model, "stream": request.stream}
    system = [block for message in request.messages if message.get("role") in _SYSTEM for block in _texts(message)]
    if system:
        body["system"] = system
    body["messages"] = _turns(message for message in request.messages if message.get("role") not in _SYSTEM)
    thinking = params.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else 0
    body["max_tokens"] = (
        params.get("max_completion_tokens")
        or params.get("max_tokens")
        or (max_tokens or usual_max_tokens(request.model)) + (budget if isinstance(budget, int) else 0)
    )
    sampling = _sampling(params) if takes_sampling(request.model) else {}
    body |= sampling | _manner(params) | _tools(params) | _output(params)
    return body


def _refuse_what_it_cannot(params: Fields) -> None:
    if (params.get("n") or 1) != 1:
        raise _cannot("n", "one answer at a time")
    if params.get("logprobs"):
        raise _cannot("logprobs", "no log probabilities")
    if params.get("functions"):
        raise _cannot("functions", "tools, not functions")
    modalities = params.get("modalities")
    if params.get("audio") or (modalities and modalities != ["text"]):
        raise _cannot("modalities", "text only")


def _cannot(param: str, has: str) -> RequestRejected:
    return RequestRejected(f"{param} cannot be asked of this model: its API has {has}.", param=param)


# -- turns -----------------------------------------------------------------------------------------------------------


def _turns(messages: Iterable[Fields]) -> list[dict[str, Any]]:
    """Turns of blocks; what one side says in several messages is one turn, so a tool's results stand together."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.get("role") == "assistant" else "user"
        blocks = list(_blocks(message))
        if not blocks:
            continue  # it says nothing, and the API refuses empty blocks
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Fields) -> Iterator[dict[str, Any]]:
    role = message.get("role")
    if role == "tool":
        yield _tool_result(message)
    elif role == "user":
        yield from _texts(message)
    elif role == "assistant":
        thoughts = message.get("thinking_blocks")  # as `reply` gave them: the API wants them back unchanged
        yield from (dict(block) for block in (thoughts if isinstance(thoughts, list) else ()))
        yield from _texts(message)
        for call in message.get("tool_calls") or ():
            yield _tool_use(call)
    else:
        raise RequestRejected(f"a message of role {role!r} cannot be said to this model", param="messages")


def _texts(message: Fields) -> Iterator[dict[str, Any]]:
    """The content of a message as blocks, a mark on the whole message on the last of them."""
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    blocks = [block for part in parts if (block := _block(part)) is not None]
    if blocks and "cache_control" in message:
        blocks[-1] = {**blocks[-1], "cache_control": message["cache_control"]}
    yield from blocks


def _block(part: Any) -> dict[str, Any] | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    mark = {"cache_control": part["cache_control"]} if kind and "cache_control" in part else {}
    if kind in ("text", "refusal"):
        text = part.get(kind)
        return {"type": "text", "text": text, **mark} if isinstance(text, str) and text.strip() else None
    if kind == "image_url":
        return {"type": "image", "source": _source(part.get("image_url")), **mark}
    if kind == "file":
        return {"type": "document", "source": _document(part.get("file")), **mark}
    if kind in ("image", "document", "search_result"):  # already in the API's own words
        return dict(part)
    raise RequestRejected(f"a part of type {kind!r} cannot be said to this model", param="messages")


def _source(image: Any) -> dict[str, Any]:
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise RequestRejected("an image_url has no url", param="messages")
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    return _inline(url)


def _document(file: Any) -> dict[str, Any]:
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(data, str):
        raise RequestRejected("a file must come with its file_data", param="messages")
    return _inline(data)


def _inline(url: str) -> dict[str, Any]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise RequestRejected("inline data must be a base64 data URL", param="messages")
    return {"type": "base64", "media_type": found[1], "data": found[2]}


# -- tools -----------------------------------------------------------------------------------------------------------


def _tool_use(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise RequestRejected("a tool call is not a call of a function", param="messages")
    try:
        given = orjson.loads(function.get("arguments") or "{}")
    except (orjson.JSONDecodeError, TypeError) as error:
        raise RequestRejected("the arguments of a tool call are not JSON", param="messages") from error
    if not isinstance(given, dict):
        raise RequestRejected("the arguments of a tool call are not an object", param="messages")
    return {"type": "tool_use", "id": _id(call.get("id")), "name": function.get("name"), "input": given}


def _tool_result(message: Fields) -> dict[str, Any]:
    mark = {"cache_control": message["cache_control"]} if "cache_control" in message else {}
    content = list(_texts({"content": message.get("content")}))
    result = {"type": "tool_result", "tool_use_id": _id(message.get("tool_call_id"))}
    return {**result, **({"content": content} if content else {}), **mark}


def _id(given: Any) -> str:
    """Other providers' ids may have characters this API refuses; a call and its result change alike."""
    return _ODD_IN_AN_ID.sub("_", str(given))


def _tools(params: Fields) -> dict[str, Any]:
    if not params.get("tools"):
        return {}
    said: dict[str, Any] = {"tools": [_tool(tool) for tool in params["tools"]]}
    choice = _tool_choice(params.get("tool_choice"))
    if params.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {**said, **({"tool_choice": choice} if choice else {})}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        return dict(tool)  # one of the API's own: web search, code execution
    said = {
        "name": function.get("name"),
        "description": function.get("description"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        "strict": function.get("strict"),
        "cache_control": tool.get("cache_control") or function.get("cache_control"),
    }
    return {key: value for key, value in said.items() if value is not None}


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    if isinstance(choice, Mapping):
        function = choice.get("function")
        if choice.get("type") == "function" and isinstance(function, Mapping):
            return {"type": "tool", "name": function.get("name")}
        return dict(choice)
    return {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}.get(str(choice))


# -- sampling and output ---------------------------------------------------------------------------------------------


def _sampling(params: Fields) -> dict[str, Any]:
    """What models that take any of it take: not the first two together, and no temperature over 1."""
    said = {key: params[key] for key in ("top_p", "top_k") if key in params}
    if isinstance(temperature := params.get("temperature"), int | float):
        said = {"temperature": min(temperature, 1), **{key: said[key] for key in said if key != "top_p"}}
    return said


def _manner(params: Fields) -> dict[str, Any]:
    said: dict[str, Any] = {}
    stop = params.get("stop")
    sequences = [text for text in ([stop] if isinstance(stop, str) else stop or ()) if text.strip()]
    if sequences:
        said["stop_sequences"] = sequences
    if isinstance(user := params.get("user"), str):
        said["metadata"] = {"user_id": user}
    if (service := params.get("service_tier")) in ("auto", "default", "standard_only"):
        said["service_tier"] = "auto" if service == "auto" else "standard_only"
    return said


def _output(params: Fields) -> dict[str, Any]:
    """How hard to think, and the form of the answer."""
    given = params.get("output_config")
    said: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    effort = params.get("reasoning_effort")
    if effort in _EFFORTS:
        said.setdefault("effort", _EFFORTS[effort])
    wanted = params.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema")
        if not isinstance(schema, Mapping) or not isinstance(schema.get("schema"), Mapping):
            raise RequestRejected("response_format has no schema", param="response_format")
        said.setdefault("format", {"type": "json_schema", "schema": schema["schema"]})
    elif wanted.get("type") not in (None, "text"):
        raise _cannot("response_format", "json_schema, and no JSON without one")
    thinking = {"thinking": {"type": "disabled"}} if effort == "none" and "thinking" not in params else {}
    return {**({"output_config": said} if said else {}), **thinking}
