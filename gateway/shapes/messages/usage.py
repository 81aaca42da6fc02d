"""Token counts in Anthropic's words: `input_tokens` leaves out what was read from a cache or written to one. Pure."""

from collections.abc import Mapping
from typing import Any

from backends.chat import MOST_TOKENS, Fields, Usage

_KEPT = ("cache_creation", "server_tool_use", "service_tier", "inference_geo", "speed")


def usage_of(usage: Usage) -> dict[str, Any]:
    """The usage of a message."""
    written = _count(usage.extra.get("cache_creation_input_tokens"))
    read = usage.cached_tokens
    told = {key: usage.extra[key] for key in _KEPT if usage.extra.get(key) is not None}
    thought = _details(usage.extra.get("completion_tokens_details")).get("reasoning_tokens")
    if thought:
        told["output_tokens_details"] = {"thinking_tokens": _count(thought)}
    return {
        **told,
        "input_tokens": max(0, usage.prompt_tokens - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.completion_tokens,
    }


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return int(value) if is_count else 0


def _details(value: Any) -> Fields:
    return value if isinstance(value, Mapping) else {}
