"""The input of a response as messages of a chat: items become turns. Pure; raises `InvalidRequest` naming the place."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.chat import Fields
from gateway.errors import InvalidRequest
from gateway.shapes.responses.content import content_of, said_by_model, text_of, wrong
from gateway.wire import MAX_MESSAGES

if TYPE_CHECKING:
    from gateway.shapes.responses.request import Wanted


def messages_of(given: Any, wanted: "Wanted") -> list[Fields]:
    if given is None:
        return []
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise wrong("input", "a text or a list of items")
    if len(given) > MAX_MESSAGES:
        raise InvalidRequest(f"input holds {len(given)} items; at most {MAX_MESSAGES} are taken.", "input")
    messages: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        at = f"input[{index}]"
        if not isinstance(item, Mapping):
            raise wrong(at, "an object")
        kind = item.get("type") or "message"
        reader = _ITEMS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            wanted.note_need(f"{at}.type")
        else:
            reader(item, at, messages, wanted)
    return [message for message in messages if message]


def _message(item: Fields, at: str, messages: list[dict[str, Any]], wanted: "Wanted") -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise wrong(f"{at}.role", "user, assistant, system or developer")
    if role != "assistant":
        messages.append({"role": role, "content": content_of(item.get("content"), f"{at}.content", wanted.note_need)})
        return
    text, refusal = said_by_model(item.get("content"), f"{at}.content")
    turn = _turn(messages, "content", "refusal", "tool_calls")
    turn["content"] = text
    if refusal is not None:
        turn["refusal"] = refusal


def _function_call(item: Fields, at: str, messages: list[dict[str, Any]], _: "Wanted") -> None:
    function = {"name": text_of(item, "name", at), "arguments": text_of(item, "arguments", at)}
    call = {"id": text_of(item, "call_id", at), "type": "function", "function": function}
    _turn(messages).setdefault("tool_calls", []).append(call)


def _custom_call(item: Fields, at: str, messages: list[dict[str, Any]], _: "Wanted") -> None:
    custom = {"name": text_of(item, "name", at), "input": text_of(item, "input", at)}
    call = {"id": text_of(item, "call_id", at), "type": "custom", "custom": custom}
    _turn(messages).setdefault("tool_calls", []).append(call)


def _call_output(item: Fields, at: str, messages: list[dict[str, Any]], wanted: "Wanted") -> None:
    content = content_of(item.get("output"), f"{at}.output", wanted.note_need)
    messages.append({"role": "tool", "tool_call_id": text_of(item, "call_id", at), "content": content})


def _reasoning(item: Fields, at: str, messages: list[dict[str, Any]], wanted: "Wanted") -> None:
    """What the model thought, if it was said openly; sealed thoughts can only be given back to who sealed them."""
    wanted.prefers = wanted.prefers or (at if item.get("encrypted_content") is not None else "")
    content = item.get("content")
    if not isinstance(content, list | None):
        raise wrong(f"{at}.content", "a list of parts")
    parts = [part for part in content or () if isinstance(part, Mapping)]
    thought = "".join(text for part in parts if isinstance(text := part.get("text"), str))
    if thought:
        _turn(messages, "reasoning_content", "content", "tool_calls")["reasoning_content"] = thought


def _turn(messages: list[dict[str, Any]], *lacking: str) -> dict[str, Any]:
    """The turn of the model that is being told, item by item: the last one, unless it has what comes now."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(last.get(name) is not None for name in lacking):
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


_ITEMS = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _call_output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _call_output,
    "reasoning": _reasoning,
}
