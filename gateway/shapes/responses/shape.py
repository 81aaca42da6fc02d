"""The Responses API as a shape: the response object, whole or as a stream of events."""

import time
import uuid
from collections.abc import Iterable
from typing import Any

from backends.chat import ChatRequest, Choice, Completion, Delta, Fields, Usage
from gateway.callers.auth import Headers, read_credential
from gateway.quota.told import Dialect
from gateway.shapes.base import Envelope, Parsed, dump, named_event
from gateway.shapes.responses.events import OutputStream
from gateway.shapes.responses.items import INCOMPLETE, items_of, status_of, usage_of
from gateway.shapes.responses.native import NativeEnvelope
from gateway.shapes.responses.request import read_body


class ResponsesShape:
    """OpenAI's responses."""

    route = "responses"
    dialect: Dialect = "openai"

    def parse(self, raw: bytes) -> Parsed:
        wanted = read_body(raw)
        body = wanted.body
        return Parsed(
            wanted.request(),
            body,
            body.get("cache"),
            body.get("cache_salt") or "",
            include_usage=True,
            follows=body.get("previous_response_id") or "",
            num_told=len(wanted.system),
            is_continued=wanted.is_kept,
        )

    def envelope(self, parsed: Parsed) -> Envelope:
        return NativeEnvelope(parsed) if parsed.name else ResponsesEnvelope(parsed)

    def error(self, _status: int, body: Fields, /) -> Fields:
        return body

    def with_headers(self, request: ChatRequest, _headers: Headers, /) -> ChatRequest:
        return request

    def credential(self, headers: Headers) -> str | None:
        return read_credential(headers)


class ResponsesEnvelope:
    """One response: what was asked is repeated in it."""

    def __init__(self, parsed: Parsed) -> None:
        self._name = uuid.uuid4().hex
        self.id = f"resp_{self._name}"
        self._created = int(time.time())
        self._body = parsed.body
        self._is_kept = parsed.is_continued
        self._said = OutputStream(self._name)
        self._extra: dict[str, Any] = {}
        self._number = 0

    def start(self) -> bytes:
        response = self._response("in_progress", ())
        return self._events({"type": f"response.{kind}", "response": response} for kind in ("created", "in_progress"))

    def chunk(self, delta: Delta) -> bytes:
        self._extra.update(delta.extra)
        return self._events(self._said.take(delta))

    def end(self, usage: Usage, extra: Fields) -> bytes:
        self._extra.update(extra)
        closing = self._events(self._said.end())
        reason = self._said.finish_reason
        status = status_of(reason)
        response = self._response(status, self._said.output(), usage, reason)
        return closing + self._events([{"type": f"response.{status}", "response": response}])

    def completion(self, completion: Completion, usage: Usage) -> bytes:
        self._extra.update(completion.extra)
        choice = completion.choices[0] if completion.choices else Choice({}, None)
        status = status_of(choice.finish_reason)
        return dump(self._response(status, items_of(choice, self._name), usage, choice.finish_reason))

    def error_event(self, _status: int, body: Fields, /) -> bytes:
        error = body.get("error") or {}
        said = {"code": error.get("code"), "message": error.get("message"), "param": error.get("param")}
        failure = {"code": "server_error", "message": error.get("message") or ""}
        failed = {**self._response("failed", self._said.output(is_whole=False)), "error": failure}
        return self._events([{"type": "error", **said}, {"type": "response.failed", "response": failed}])

    def _events(self, events: Iterable[Fields]) -> bytes:
        written = []
        for event in events:
            written.append(named_event({**event, "sequence_number": self._number}))
            self._number += 1
        return b"".join(written)

    def _response(
        self, status: str, output: Iterable[Fields], usage: Usage | None = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        incomplete = INCOMPLETE.get(finish_reason or "")
        return {
            **self._extra,
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "background": False,
            "error": None,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            **{name: self._body.get(name) for name in _REPEATED},
            **{
                name: default if (said := self._body.get(name)) is None else said for name, default in _DEFAULTS.items()
            },
            "model": model if isinstance(model := self._extra.get("model"), str) else self._body["model"],
            "output": list(output),
            "store": self._is_kept,
            "usage": None if usage is None else usage_of(usage),
        }


# What was asked is told again: as it was said, or what it means not to say it.
_REPEATED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key"),
    *("safety_identifier", "user"),
)
_DEFAULTS: Fields = {
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
