"""An answer as output items: thoughts, the message, calls of tools. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from backends.chat import Choice, Fields, Usage

Item = dict[str, Any]

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def thought_of(message: Fields) -> str:
    """What was thought aloud; servers call it by two names."""
    thought = message.get("reasoning_content") or message.get("reasoning")
    return thought if isinstance(thought, str) else ""


def text_of(message: Fields) -> str:
    """What was said; of parts, their texts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def reasoning_item(item_id: str, thought: str, status: str) -> Item:
    content = [{"type": "reasoning_text", "text": thought}] if thought else []
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}


def message_item(item_id: str, content: Iterable[Fields], status: str) -> Item:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": list(content)}


def text_part(text: str, logprobs: Iterable[Any] = (), annotations: Iterable[Any] = ()) -> Fields:
    return {"type": "output_text", "annotations": list(annotations), "logprobs": list(logprobs), "text": text}


def refusal_part(refusal: str) -> Fields:
    return {"type": "refusal", "refusal": refusal}


def call_item(item_id: str, call: Fields, status: str) -> Item:
    """A call of a tool, of whatever is known of it."""
    custom = call.get("custom")
    if isinstance(custom, Mapping):
        said = {
            "call_id": call.get("id") or item_id,
            "name": custom.get("name") or "",
            "input": custom.get("input") or "",
        }
        return {"id": item_id, "type": "custom_tool_call", "status": status, **said}
    function = call.get("function") or {}
    said = {"name": function.get("name") or "", "arguments": function.get("arguments") or ""}
    return {"id": item_id, "type": "function_call", "status": status, "call_id": call.get("id") or item_id, **said}


def prefix_of(call: Fields) -> str:
    """What the ids of such an item begin with."""
    return "ctc" if isinstance(call.get("custom"), Mapping) else "fc"


def annotations_of(message: Fields) -> list[Fields]:
    """Citations, without the box that chat puts them into."""
    said = message.get("annotations")
    flat = []
    for one in said if isinstance(said, list | tuple) else ():
        if isinstance(one, Mapping):
            inner = one.get(str(one.get("type")))
            flat.append({"type": one.get("type"), **inner} if isinstance(inner, Mapping) else one)
    return flat


def logprobs_of(logprobs: Fields | None) -> list[Any]:
    """Those of the text; every token has its likeliest, if none were asked for."""
    content = (logprobs or {}).get("content")
    tokens = [token for token in content if isinstance(token, Mapping)] if isinstance(content, list | tuple) else []
    return [
        {**token, "bytes": token.get("bytes") or [], "top_logprobs": token.get("top_logprobs") or []}
        for token in tokens
    ]


def items_of(choice: Choice, num: str) -> list[Item]:
    """The output of a whole answer; `num` makes its ids."""
    message, status = choice.message, status_of(choice.finish_reason)
    items: list[Item] = []
    if thought := thought_of(message):
        items.append(reasoning_item(f"rs_{num}_{len(items)}", thought, "completed"))
    text, refusal, calls = text_of(message), message.get("refusal"), message.get("tool_calls") or ()
    content = [text_part(text, logprobs_of(choice.logprobs), annotations_of(message))] if text else []
    content += [refusal_part(refusal)] if isinstance(refusal, str) and refusal else []
    if content or not calls:
        items.append(message_item(f"msg_{num}_{len(items)}", content or [text_part("")], status))
    for call in calls:
        items.append(call_item(f"{prefix_of(call)}_{num}_{len(items)}", call, status))
    return items


def status_of(finish_reason: str | None) -> str:
    """How a response ended that ended by itself."""
    return "incomplete" if finish_reason in INCOMPLETE else "completed"


def usage_of(usage: Usage) -> Fields:
    """OpenAI's usage of a response; the three details are always there."""
    prompt, completion = (usage.extra.get(f"{kind}_tokens_details") or {} for kind in ("prompt", "completion"))
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": _count(prompt, "cache_write_tokens"),
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": _count(completion, "reasoning_tokens")},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _count(details: Any, name: str) -> int:
    value = details.get(name) if isinstance(details, Mapping) else None
    return value if isinstance(value, int) else 0
