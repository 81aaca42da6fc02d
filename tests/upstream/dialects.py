"""How other servers say the same answer: OpenAI's JSON in, theirs out, as their documentation shows it.

A dialect is chosen by the first part of the path: `/deepseek/v1/chat/completions`. Every dialect says that half of the
prompt was cached, where it says so at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

JSON = dict[str, Any]
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to say an answer."""

    name: str
    whole: Callable[[JSON], JSON] = lambda completion: completion
    pieces: Callable[[list[JSON]], list[JSON]] = lambda chunks: chunks
    error: Callable[[JSON, int], JSON] = lambda error, _status: error
    done: bytes = DONE
    figures: str = ""  # at /metrics

    def event(self, chunk: JSON) -> bytes:
        """An event of the stream; Anthropic names its own."""
        name = b"event: " + chunk["type"].encode() + b"\n" if self.name == "anthropic" else b""
        return name + b"data: " + orjson.dumps(chunk) + b"\n\n"


def _usage(change: Callable[[JSON], JSON]) -> Callable[[JSON], JSON]:
    """Changes the usage of a completion or of a chunk that has one."""
    return lambda wire: {**wire, "usage": change(wire["usage"])} if wire.get("usage") else wire


def _like_openai(name: str, whole: Callable[[JSON], JSON], figures: str = "") -> Dialect:
    return Dialect(name, whole, lambda chunks: [whole(chunk) for chunk in chunks], figures=figures)


def _cached(usage: JSON) -> int:
    cached: int = usage["prompt_tokens"] // 2
    return cached


def _plain(usage: JSON) -> JSON:
    return {key: usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _openai(usage: JSON) -> JSON:
    details = {"cached_tokens": _cached(usage), "audio_tokens": 0}
    thought = {"reasoning_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    return {**_plain(usage), "prompt_tokens_details": details, "completion_tokens_details": thought}


def _deepseek(usage: JSON) -> JSON:
    hit = _cached(usage)
    return {
        **_plain(usage),
        "prompt_cache_hit_tokens": hit,
        "prompt_cache_miss_tokens": usage["prompt_tokens"] - hit,
    }


def _mistral(usage: JSON) -> JSON:
    return {**_plain(usage), "prompt_audio_seconds": None, "num_cached_tokens": _cached(usage)}


def _gemini(usage: JSON) -> JSON:
    """What was thought is in the total alone."""
    details = {"cached_tokens": _cached(usage), "audio_tokens": None}
    return {**_plain(usage), "total_tokens": usage["total_tokens"] + 7, "prompt_tokens_details": details}


def _vllm(usage: JSON) -> JSON:
    details = {"cached_tokens": _cached(usage), "created_cache_tokens": 16, "multimodal_tokens": None}
    return {**_plain(usage), "prompt_tokens_details": details, "completion_tokens_details": {"reasoning_tokens": 0}}


def _sglang(usage: JSON) -> JSON:
    return {**_plain(usage), "reasoning_tokens": 0, "prompt_tokens_details": {"cached_tokens": _cached(usage)}}


def _llamacpp(wire: JSON) -> JSON:
    """Before its usage counted cached tokens: they are in the timings, which come with the last event."""
    if not wire.get("usage"):
        return wire
    usage, cached = wire["usage"], _cached(wire["usage"])
    timings = {
        "cache_n": cached,
        "prompt_n": usage["prompt_tokens"] - cached,
        "prompt_ms": 30.958,
        "predicted_n": usage["completion_tokens"],
        "predicted_ms": 661.064,
    }
    return {**wire, "usage": _plain(usage), "timings": timings}


VLLM_FIGURES = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1200.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 1.1e+03
vllm:prefix_cache_hits_created{engine="0",model_name="m"} 1.7952e+09
process_resident_memory_bytes NaN
"""
SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "safe"}}


def _azure(wire: JSON) -> JSON:
    filtered = [{**choice, "content_filter_results": SAFE} for choice in wire["choices"]]
    return _usage(_openai)({**wire, "choices": filtered})


def _azure_pieces(chunks: list[JSON]) -> list[JSON]:
    found = [{"prompt_index": 0, "content_filter_results": SAFE}]
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": found}
    return [first, *(_azure(chunk) for chunk in chunks)]


def _azure_whole(wire: JSON) -> JSON:
    return {**_azure(wire), "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}]}


# -- Anthropic ---------------------------------------------------------------------------------------------------------

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def _anthropic_usage(words: int, said: int) -> JSON:
    read, written = words // 2, 1
    return {
        "input_tokens": words - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": said,
        "service_tier": "standard",
    }


def _blocks(message: JSON) -> list[JSON]:
    blocks: list[JSON] = []
    if message.get("reasoning_content"):
        blocks.append({"type": "thinking", "thinking": message["reasoning_content"], "signature": "c2lnbmVk"})
    if message.get("content"):
        blocks.append({"type": "text", "text": message["content"]})
    for call in message.get("tool_calls", ()):
        function = call["function"]
        given = orjson.loads(function["arguments"])
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": given})
    return blocks


def _envelope(completion: JSON) -> JSON:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": completion["model"]}


def _anthropic_whole(completion: JSON) -> JSON:
    choice, usage = completion["choices"][0], completion.get("usage") or {"prompt_tokens": 3, "completion_tokens": 1}
    return {
        **_envelope(completion),
        "content": _blocks(choice["message"]),
        "stop_reason": _REASONS[choice["finish_reason"]],
        "stop_sequence": None,
        "usage": _anthropic_usage(usage["prompt_tokens"], usage["completion_tokens"]),
    }


def _anthropic_pieces(chunks: list[JSON]) -> list[JSON]:
    """The events of the same message; `chunks` are those of one choice."""
    usage = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), None) or {
        "prompt_tokens": sum(1 for _ in chunks),
        "completion_tokens": sum(1 for _ in chunks),
    }
    counted = _anthropic_usage(usage["prompt_tokens"], usage["completion_tokens"])
    started = {**_envelope(chunks[0]), "content": [], "stop_reason": None, "usage": {**counted, "output_tokens": 1}}
    events: list[JSON] = [{"type": "message_start", "message": started}, {"type": "ping"}]
    kind, index = "", -1
    for chunk in chunks:
        for choice in chunk["choices"]:
            for wanted, opening, delta in _deltas(choice["delta"]):
                if wanted != kind:
                    events += _closing(kind, index)
                    kind, index = wanted, index + 1
                    events.append({"type": "content_block_start", "index": index, "content_block": opening})
                if delta:
                    events.append({"type": "content_block_delta", "index": index, "delta": delta})
            if reason := choice.get("finish_reason"):
                events += _closing(kind, index)
                ended = {"stop_reason": _REASONS[reason], "stop_sequence": None}
                said = {"output_tokens": counted["output_tokens"]}
                events += [{"type": "message_delta", "delta": ended, "usage": said}, {"type": "message_stop"}]
    return events


def _deltas(delta: JSON) -> list[tuple[str, JSON, JSON | None]]:
    """The block each part of a delta belongs to, how it opens, and what is added to it."""
    if text := delta.get("content"):
        return [("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": text})]
    if thought := delta.get("reasoning_content"):
        return [("thinking", {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": thought})]
    parts: list[tuple[str, JSON, JSON | None]] = []
    for call in delta.get("tool_calls", ()):
        function, name = call["function"], f"tool {call['index']}"
        opening = {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": {}}
        more = function.get("arguments")
        parts.append((name, opening, {"type": "input_json_delta", "partial_json": more} if more else None))
    return parts


def _closing(kind: str, index: int) -> list[JSON]:
    if index < 0:
        return []
    signature = {"type": "signature_delta", "signature": "c2lnbmVk"}
    signed = [{"type": "content_block_delta", "index": index, "delta": signature}] if kind == "thinking" else []
    return [*signed, {"type": "content_block_stop", "index": index}]


def _anthropic_error(error: JSON, status: int) -> JSON:
    kind = "overloaded_error" if status == 529 else _ERRORS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": error["error"]["message"]}, "request_id": "req_1"}


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(""),
        _like_openai("openai", _usage(_openai)),
        _like_openai("deepseek", _usage(_deepseek)),
        _like_openai("mistral", _usage(_mistral)),
        _like_openai("gemini", _usage(_gemini)),
        _like_openai("vllm", _usage(_vllm), VLLM_FIGURES),
        _like_openai("sglang", _usage(_sglang)),
        _like_openai("llamacpp", _llamacpp),
        _like_openai("ollama", _usage(_plain)),
        _like_openai("twicetold", _usage(_openai)),
        Dialect("azure", _azure_whole, _azure_pieces),
        Dialect("anthropic", _anthropic_whole, _anthropic_pieces, _anthropic_error, b""),
    )
}
