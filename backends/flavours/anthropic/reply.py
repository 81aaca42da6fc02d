"""Answers of Anthropic's Messages API, whole or streamed, in our vocabulary. Pure.

Thoughts become `reasoning_content`; beside it `thinking_blocks` keeps them with their signatures, which the API wants
back with the results of tools. Blocks that this cannot say (of the server's own tools, with citations, in another
order) are told whole, with all that came before, in `content_blocks`. Its `input_tokens` leaves out what was read from
its cache or written to it; ours count the whole prompt, as OpenAI's do.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from backends.chat import NOTHING, Choice, Completion, Delta, Fields, Usage
from backends.depth import is_deep
from backends.errors import (
    BackendBusy,
    BackendError,
    BackendGarbage,
    BackendTimeout,
    RequestRejected,
    UpstreamAuth,
    UpstreamBilling,
)
from backends.flavours.anthropic.blocks import Block, Telling, are_said, beside, says_something
from backends.openai_wire import is_unpaid, parse_json, retry_after_s

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the rest is to be had by asking again
    "refusal": "content_filter",
}
_PLAIN = frozenset({"end_turn", "tool_use", "max_tokens"})  # what our words say as well
_NO_CREDIT = "Your credit balance is too low"  # so it says, as an invalid request
_STATUS = {  # of an error that comes in the middle of a stream
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_THOUGHTS = ("thinking", "redacted_thinking")


def parse_message(payload: bytes, upstream: str) -> Completion:
    """A whole answer. Raises `BackendError` for an error object or what is no message."""
    wire = parse_json(payload, upstream)
    if wire.get("type") == "error":
        raise _error_in_answer(wire, upstream)
    content = wire.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise BackendGarbage(f"{upstream} sent something that is not a message")
    if not isinstance(wire.get("stop_reason"), str | None):
        raise BackendGarbage(f"{upstream} sent a message that ends for no reason")
    return Completion(
        (Choice(_message(content, upstream), _finish(wire.get("stop_reason"))),),
        _usage(wire.get("usage"), upstream) or Usage(),
        {**_extra(wire), **_ending(wire)},
    )


class MessageReader:
    """Reads the events of one streamed message."""

    def __init__(self, upstream: str) -> None:
        self.is_done = False
        self._upstream = upstream
        self._is_finished = False
        self._usage: dict[str, Any] = {}
        self._extra: Fields = NOTHING
        self._blocks: dict[int, Block] = {}
        self._num_calls = 0
        self._told = Telling()

    def read(self, payload: bytes) -> Iterator[Delta]:
        """The deltas of one event. Raises `BackendError`."""
        event = parse_json(payload, self._upstream)
        kind = event.get("type")
        try:
            if kind == "message_start":
                yield self._started(event["message"])
            elif kind == "content_block_start":
                yield from self._opened(event["index"], event["content_block"])
            elif kind == "content_block_delta":
                yield from self._grown(self._blocks[event["index"]], event["delta"])
            elif kind == "content_block_stop":
                yield from self._closed(self._blocks.pop(event["index"]))
            elif kind == "message_delta":
                yield from self._ended(event)
            elif kind == "message_stop":
                self.is_done = True
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BackendGarbage(f"{self._upstream} sent an event that is not one") from error
        if kind == "error":
            raise _error_in_answer(event, self._upstream)

    def check_whole(self) -> None:
        """Say that the stream ended. Raises `BackendGarbage` when the message did not."""
        if not self._is_finished:
            raise BackendGarbage(f"{self._upstream} was cut off mid-stream")

    def _started(self, message: Fields) -> Delta:
        self._extra = _extra(message)
        self._count(message.get("usage"))
        return Delta(fields={"role": "assistant"}, usage=_usage(self._usage, self._upstream), extra=self._extra)

    def _opened(self, index: int, block: Fields) -> Iterator[Delta]:
        opened = Block(dict(block))
        self._blocks[index] = opened
        if block["type"] == "tool_use":
            opened.number, self._num_calls = self._num_calls, self._num_calls + 1
            name, call_id = _text(block["name"]), _text(block["id"])
            call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            yield self._said({"tool_calls": [{"index": opened.number, **beside(block), **call}]})
        elif block["type"] == "text" and block.get("text"):
            yield from self._worded(_text(block["text"]), is_first=True)

    def _grown(self, block: Block, delta: Fields) -> Iterator[Delta]:
        kind = delta["type"]
        if kind == "text_delta":
            is_first = not block.texts.get("text") and not block.wire.get("text")
            block.texts.setdefault("text", []).append(delta["text"])
            yield from self._worded(_text(delta["text"]), is_first=is_first)
        elif kind == "thinking_delta":
            block.texts.setdefault("thinking", []).append(delta["thinking"])
            yield self._said({"reasoning_content": _text(delta["thinking"])})
        elif kind == "signature_delta":
            block.texts.setdefault("signature", []).append(delta["signature"])
        elif kind == "input_json_delta" and delta["partial_json"]:
            block.texts.setdefault("input", []).append(_text(delta["partial_json"]))
            if block.number is not None:
                yield self._argued(block.number, delta["partial_json"])
        elif kind == "citations_delta":
            block.citations.append(delta["citation"])

    def _worded(self, text: str, *, is_first: bool) -> Iterator[Delta]:
        """A piece of a text; before a second text begins, the blocks so far are told, as nothing else parts the two."""
        if is_first and text and (told := self._told.another_text()):
            yield self._said({"content_blocks": told})
        yield self._said({"content": text})

    def _closed(self, block: Block) -> Iterator[Delta]:
        if block.wire["type"] in _THOUGHTS:
            yield self._said({"thinking_blocks": [block.whole()]})
        elif block.number is not None and "input" not in block.texts:
            yield self._argued(block.number, _json(block.wire.get("input") or {}))
        whole = block.whole()
        if says_something(whole) and (told := self._told.closed(whole)):
            yield self._said({"content_blocks": told})

    def _ended(self, event: Fields) -> Iterator[Delta]:
        self._count(event.get("usage"))
        if reason := event["delta"].get("stop_reason"):
            if not isinstance(reason, str):
                raise TypeError("a reason is a text")
            self._is_finished = True
            self._extra = {**self._extra, **_ending(event["delta"])}
            yield Delta(finish_reason=_finish(reason), extra=self._extra)
        yield Delta(usage=_usage(self._usage, self._upstream), extra=self._extra)

    def _said(self, fields: Fields) -> Delta:
        return Delta(fields=fields, extra=self._extra)

    def _argued(self, number: int, arguments: str) -> Delta:
        return self._said({"tool_calls": [{"index": number, "function": {"arguments": arguments}}]})

    def _count(self, usage: Any) -> None:
        """What is told at the end is the whole again, for as much as it is told."""
        self._usage |= {key: value for key, value in (usage or {}).items() if value is not None}


def read_error(status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BackendError:
    """What a reply that is not a success means for the caller."""
    try:
        wire = orjson.loads(body)
    except orjson.JSONDecodeError:
        wire = None
    error = wire.get("error") if isinstance(wire, dict) and not is_deep(body, wire) else None
    return _error(status, error if isinstance(error, dict) else None, upstream, retry_after_s(headers))


def _error_in_answer(wire: Fields, upstream: str) -> BackendError:
    error = wire.get("error")
    fields = error if isinstance(error, dict) else {}
    return _error(_STATUS.get(str(fields.get("type")), 500), fields, upstream, None)


def _error(status: int, error: Fields | None, upstream: str, wait_s: float | None) -> BackendError:
    if status in (401, 403):
        return UpstreamAuth(f"{upstream} refuses the gateway's credentials")
    if is_unpaid(status, error) or (status == 400 and str((error or {}).get("message")).startswith(_NO_CREDIT)):
        return UpstreamBilling(f"{upstream} refuses the gateway's account: no credit is left, or its quota is used up")
    if status in (408, 504):
        return BackendTimeout(f"{upstream} gave up waiting")
    if status in (503, 529):
        return BackendBusy(f"{upstream} is overloaded", retry_after_s=wait_s)
    if status >= 500:
        return BackendError(f"{upstream} failed (status {status})", retryable=True, retry_after_s=wait_s)
    if status < 400 or (status in (404, 405) and error is None):
        return BackendGarbage(f"{upstream} has no messages under its URL (status {status})")
    kind = str((error or {}).get("type") or "invalid_request_error")
    message = str((error or {}).get("message") or f"{upstream} refused the request (status {status})")
    return RequestRejected(
        message,
        code=kind,
        status=status,
        error={"message": message, "type": kind, "param": None, "code": kind},
        retry_after_s=wait_s,
    )


def _message(content: list[dict[str, Any]], upstream: str) -> Fields:
    """The blocks as one message, and as they are where a message does not say it all."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: list[dict[str, Any]] = []
    texts: dict[str, list[str]] = {}
    try:
        for block in content:
            if block["type"] == "text":
                texts.setdefault("content", []).append(block["text"])
            elif block["type"] in _THOUGHTS:
                if "thinking" in block:
                    texts.setdefault("reasoning_content", []).append(block["thinking"])
                message.setdefault("thinking_blocks", []).append(block)
            elif block["type"] == "tool_use":
                function = {"name": _text(block["name"]), "arguments": _json(block["input"])}
                calls.append({**beside(block), "id": _text(block["id"]), "type": "function", "function": function})
        message |= {key: "".join(said) for key, said in texts.items()}
    except (KeyError, TypeError) as error:
        raise BackendGarbage(f"{upstream} sent a block that is not one") from error
    blocks = [block for block in content if says_something(block)]
    told = {} if are_said(blocks) else {"content_blocks": blocks}
    return {**message, **({"tool_calls": calls} if calls else {}), **told}


def _usage(wire: Any, upstream: str) -> Usage | None:
    if not wire:
        return None
    try:
        read = wire.get("cache_read_input_tokens")
        written = wire.get("cache_creation_input_tokens")
        counts: dict[str, Any] = {
            "prompt_tokens": (wire.get("input_tokens") or 0) + (read or 0) + (written or 0),
            "completion_tokens": wire.get("output_tokens") or 0,
        }
        if read is not None:
            counts["prompt_tokens_details"] = {"cached_tokens": read}
        details = wire.get("output_tokens_details") or {}
        if "thinking_tokens" in details:
            counts["completion_tokens_details"] = {"reasoning_tokens": details["thinking_tokens"]}
        left = {"input_tokens", "output_tokens", "output_tokens_details"}
        own = {key: value for key, value in wire.items() if key not in left and value is not None}
        return Usage.from_wire({**own, **counts})
    except (AttributeError, TypeError, ValueError) as error:
        raise BackendGarbage(f"{upstream} sent a usage that is not one") from error


def _finish(reason: Any) -> str | None:
    return None if reason is None else _FINISH.get(str(reason), "stop")


def _ending(wire: Fields) -> Fields:
    """Why it ended, where our word for it says less."""
    reason = wire.get("stop_reason")
    said = {key: wire[key] for key in ("stop_sequence", "stop_details", "container") if wire.get(key) is not None}
    return {**({} if reason in _PLAIN or reason is None else {"stop_reason": str(reason)}), **said}


def _extra(wire: Fields) -> Fields:
    return {"model": wire["model"]} if wire.get("model") else NOTHING


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("not a text")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
