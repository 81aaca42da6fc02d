"""Does an answer that somebody else made fit what was asked? Pure.

What a model said to the proxy is its answer, whatever it looks like. What is put is only said to be one: kept under a
request that asked for something else, it would be given to everybody who asks that.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from backends.chat import ChatRequest, Choice, Completion, Fields
from backends.flavours.responses import EVENT

# What an answer's envelope cannot say when somebody else wrote it: our own fields, and a server's name for a response,
# which is sealed for whoever is given it and leads to a conversation there.
_OURS = frozenset({EVENT, "id", "object", "created", "created_at", "choices", "usage", "type", "error"})


def of_others(completion: Completion) -> Completion:
    """An answer that somebody says was given, without what only the server that gave it could say."""
    extra = {name: value for name, value in completion.extra.items() if name not in _OURS}
    return replace(completion, extra=extra)


def misfit(request: ChatRequest, completion: Completion) -> str | None:
    """Why this cannot be the answer; None when it can."""
    params = request.params
    if len(completion.choices) != (params.get("n") or 1):
        return "other_number_of_choices"
    if params.get("logprobs") and any(choice.logprobs is None for choice in completion.choices):
        return "no_logprobs"
    return next((reason for choice in completion.choices if (reason := _misfit(params, choice)) is not None), None)


def _misfit(params: Fields, choice: Choice) -> str | None:
    message = choice.message
    calls = message.get("tool_calls") or message.get("function_call")
    if not calls and _must_call(params.get("tool_choice")):
        return "no_tool_call"
    if calls and params.get("tool_choice") == "none":
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
