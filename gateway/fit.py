"""Does an answer that somebody else made fit what was asked? Pure.

What a model said to the proxy is its answer, whatever it looks like. What is put is only said to be one: kept under a
request that asked for something else, it would be given to everybody who asks that.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from backends.chat import MOST_TOKENS, ChatRequest, Choice, Completion, Fields
from backends.flavours.responses import EVENT
from backends.openai_choice import is_message

# What an answer's envelope cannot say when somebody else wrote it: our own fields, and a server's name for a response,
# which is sealed for whoever is given it and leads to a conversation there.
_OURS = frozenset({EVENT, "id", "object", "created", "created_at", "choices", "usage", "type", "error"})
_TEXTS = frozenset({"model", "system_fingerprint", "service_tier", "stop_reason"})
_SAID_TO = {"function": "arguments", "custom": "input"}  # where a call has what it says to its tool


def of_others(completion: Completion) -> Completion:
    """An answer that somebody says was given, without what only the server that gave it could say."""
    told = ((name, value) for name, value in completion.extra.items() if name not in _OURS)
    extra = {name: value for name, value in told if name not in _TEXTS or isinstance(value, str)}
    return replace(completion, extra=extra)


def malformed(completion: Completion) -> str | None:
    """The field that no answer has like this; None when it can be given in every shape."""
    usage = completion.usage.extra
    if not all(_is_count(usage, name) for name in usage):
        return "usage"
    for index, choice in enumerate(completion.choices):
        if (field := _malformed(choice)) is not None:
            return f"choices[{index}].{field}"
    return None


def _malformed(choice: Choice) -> str | None:
    message = choice.message
    if not is_message(message) or message.get("role", "assistant") != "assistant":
        return "message"
    calls = message.get("tool_calls") or ()
    if not all(_is_call(call) for call in calls):
        return "message.tool_calls"
    old = message.get("function_call")
    if old is not None and not _is_named(old, "arguments"):
        return "message.function_call"
    return None if _are_logprobs(choice.logprobs) else "logprobs"


def _is_call(call: Mapping[str, Any]) -> bool:
    if not isinstance(call.get("id"), str | None):
        return False
    kinds = [(name, call[kind]) for kind, name in _SAID_TO.items() if call.get(kind) is not None]
    return len(kinds) == 1 and _is_named(kinds[0][1], kinds[0][0])


def _is_named(value: Any, said: str) -> bool:
    is_object = isinstance(value, Mapping) and isinstance(value.get(said), str)
    return is_object and isinstance(value.get("name"), str) and bool(value["name"])


def _are_logprobs(logprobs: Fields | None) -> bool:
    for field in ("content", "refusal"):
        tokens = (logprobs or {}).get(field)
        if tokens is not None and not (isinstance(tokens, list | tuple) and all(map(_is_token, tokens))):
            return False
    return True


def _is_token(token: Any) -> bool:
    if not isinstance(token, Mapping) or not isinstance(token.get("token"), str):
        return False
    top = token.get("top_logprobs") or ()
    is_top = isinstance(top, list | tuple) and all(isinstance(each, Mapping) for each in top)
    return is_top and isinstance(token.get("logprob"), int | float | None)


def _is_count(usage: Mapping[str, Any], name: str) -> bool:
    value = usage[name]
    if name.endswith("_details"):
        return value is None or (isinstance(value, Mapping) and all(_is_count(value, each) for each in value))
    return not name.endswith("_tokens") or (isinstance(value, int | float | None) and 0 <= (value or 0) <= MOST_TOKENS)


def misfit(request: ChatRequest, completion: Completion) -> str | None:
    """Why this cannot be the answer; None when it can."""
    params = request.params
    if len(completion.choices) != (params.get("n") or 1):
        return "other_number_of_choices"
    if params.get("logprobs") and any(choice.logprobs is None for choice in completion.choices):
        return "no_logprobs"
    # Of the Responses API: as it came, or as it is spelled in a canonical request.
    native = request.native or params.get("responses")
    has_tools = any(params.get(name) for name in ("tools", "functions")) or (
        isinstance(native, Mapping) and bool(native.get("tools"))
    )
    reasons = (_misfit(params, choice, has_tools=has_tools) for choice in completion.choices)
    return next((reason for reason in reasons if reason is not None), None)


def _misfit(params: Fields, choice: Choice, *, has_tools: bool) -> str | None:
    message = choice.message
    calls = message.get("tool_calls") or message.get("function_call")
    if not calls and _must_call(params.get("tool_choice")):
        return "no_tool_call"
    if calls and (not has_tools or params.get("tool_choice") == "none"):
        return "tool_call"
    return None if calls or _is_of_form(params.get("response_format"), _text_of(message)) else "not_json"


def _must_call(choice: Any) -> bool:
    """Whether `tool_choice` leaves the model no words of its own."""
    if not isinstance(choice, Mapping):
        return bool(choice == "required")
    allowed = choice.get("allowed_tools")
    if choice.get("type") == "allowed_tools":
        return isinstance(allowed, Mapping) and allowed.get("mode") == "required"
    return choice.get("type") in ("function", "custom")


def _is_of_form(form: Any, text: str) -> bool:
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind not in ("json_object", "json_schema"):
        return True
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return kind == "json_schema" or isinstance(value, dict)


def _text_of(message: Fields) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    return content if isinstance(content, str) else "".join(text for text in texts if isinstance(text, str))
