"""POST /v1/chat/completions: the vocabulary's own spelling."""

import secrets
import time
from typing import Any

from backends.chat import ChatRequest, Completion, Delta, Fields, Usage
from gateway.callers.auth import Headers, read_credential
from gateway.quota.told import Dialect
from gateway.shapes.base import Parsed, data_event, dump
from gateway.wire import parse_chat


class ChatShape:
    """OpenAI's chat completions."""

    route = "chat"
    dialect: Dialect = "openai"

    def parse(self, raw: bytes) -> Parsed:
        request, body = parse_chat(raw)
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return Parsed(request, body, body.get("cache"), body.get("cache_salt") or "", include_usage)

    def envelope(self, parsed: Parsed) -> "ChatEnvelope":
        return ChatEnvelope(parsed.request.model, include_usage=parsed.include_usage)

    def error(self, _status: int, body: Fields, /) -> Fields:
        return body

    def with_headers(self, request: ChatRequest, _headers: Headers, /) -> ChatRequest:
        return request

    def credential(self, headers: Headers) -> str | None:
        return read_credential(headers)


class ChatEnvelope:
    """What every piece of one response repeats: a new id, the time, the model."""

    def __init__(self, model: str, *, include_usage: bool = False) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(16)}"
        self.created = int(time.time())
        self._model = model
        self._include_usage = include_usage

    def start(self) -> bytes:
        return b""

    def completion(self, completion: Completion, usage: Usage) -> bytes:
        """The whole answer as one `chat.completion`."""
        choices = [
            {
                "index": index,
                "message": choice.message,
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(completion.choices)
        ]
        body = {**self._head("chat.completion", completion.extra), "choices": choices}
        return dump({**body, "usage": usage.to_wire()})

    def chunk(self, delta: Delta) -> bytes:
        """One delta as a chunk; nothing for a delta that only carries usage."""
        if not delta.fields and delta.finish_reason is None and delta.logprobs is None:
            return b""
        choice = {
            "index": delta.index,
            "delta": delta.fields,
            "logprobs": delta.logprobs,
            "finish_reason": delta.finish_reason,
        }
        body = {**self._head("chat.completion.chunk", delta.extra), "choices": [choice]}
        if self._include_usage:
            body["usage"] = None
        return data_event(body)

    def end(self, usage: Usage, extra: Fields) -> bytes:
        """The closing events: usage when it was asked for, then `[DONE]`."""
        done = b"data: [DONE]\n\n"
        if not self._include_usage:
            return done
        body = {**self._head("chat.completion.chunk", extra), "choices": [], "usage": usage.to_wire()}
        return data_event(body) + done

    def error_event(self, _status: int, body: Fields, /) -> bytes:
        return data_event(body)

    def _head(self, kind: str, extra: Fields) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self._model, **extra}
