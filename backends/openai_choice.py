"""The parts of a choice, checked: what is none of what it may be never reaches a caller."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from backends.chat import Fields
from backends.errors import BackendGarbage


def is_message(fields: Any) -> TypeGuard[Fields]:
    """Whether this can be collected, and read by a caller: texts are texts, and calls of tools are calls."""
    if type(fields) is dict and len(fields) == 1 and type(fields.get("content")) is str:
        return True  # nearly every piece of a stream
    if not isinstance(fields, Mapping) or not _are_texts(fields, "role", "refusal", "reasoning_content"):
        return False
    content, calls = fields.get("content"), fields.get("tool_calls")
    if not isinstance(content, str | None) and not _are_objects(content):  # Mistral says thoughts in parts
        return False
    return calls is None or (isinstance(calls, list) and all(_is_call(call) for call in calls))


def said(fields: Any) -> Any:
    """Without nulls, which servers write whole and leave out streamed; a message keeps that it has no content."""
    kind = type(fields)
    if kind is int or (kind is not dict and not isinstance(fields, Mapping)) or None not in fields.values():
        return fields
    return {key: value for key, value in fields.items() if value is not None or key == "content"}


def finish_reason(choice: Mapping[str, Any], upstream: str) -> str | None:
    reason = choice.get("finish_reason")
    if reason is None or isinstance(reason, str):
        return reason or None  # some servers say "" until the end
    raise BackendGarbage(f"{upstream} sent a finish_reason that is none")


def logprobs_of(choice: Mapping[str, Any], upstream: str) -> Fields | None:
    logprobs = choice.get("logprobs")
    if logprobs is None or isinstance(logprobs, dict):
        return logprobs
    raise BackendGarbage(f"{upstream} sent log probabilities that are none")


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict) or not isinstance(call.get("index"), int | None):
        return False
    kinds = (call.get("function"), call.get("custom"))
    return all(
        kind is None or (isinstance(kind, dict) and _are_texts(kind, "name", "arguments", "input")) for kind in kinds
    )


def _are_texts(fields: Fields, *names: str) -> bool:
    for name in names:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            return False
    return True


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
