"""A response that a server of the Responses API has made: its own words, under our name for it.

Live, every event goes on as it came. From the store the whole response is there at once, and is told again in events.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from backends.chat import Completion, Delta, Fields, Usage
from backends.flavours.responses import EVENT
from gateway.shapes.base import Parsed, dump, named_event
from gateway.shapes.messages.blocks import objects
from gateway.shapes.responses.items import usage_of

_ENDS = ("response.completed", "response.incomplete")
_OF_THE_CALLER = ("metadata", "user", "safety_identifier", "prompt_cache_key", "previous_response_id")
_GROWING = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


class NativeEnvelope:
    """One response of another server, under its new name."""

    def __init__(self, parsed: Parsed) -> None:
        self.id = parsed.name
        self._body = parsed.body
        self._created = int(time.time())
        self._number = 0
        self._is_live = False
        self._final: Mapping[str, Any] = {}

    def start(self) -> bytes:
        return b""  # the server has said that it has begun

    def chunk(self, delta: Delta) -> bytes:
        event = delta.extra.get(EVENT)
        if not isinstance(event, Mapping) or not isinstance(event.get("type"), str):
            return b""
        if not self._is_live and event.get("type") in _ENDS:
            self._final = event
            return b""
        self._is_live = True
        number = event.get("sequence_number")
        self._number = number + 1 if isinstance(number, int) else self._number + 1
        response = event.get("response")
        return named_event({**event, "response": self._named(response)} if isinstance(response, Mapping) else event)

    def end(self, usage: Usage, extra: Fields) -> bytes:
        event = self._final or extra.get(EVENT)
        if self._is_live or not isinstance(event, Mapping):
            return b""
        last = event.get("type")
        return self._events(told_again(self._paid(_response(event), usage), last if last in _ENDS else _ENDS[0]))

    def completion(self, completion: Completion, usage: Usage) -> bytes:
        return dump(self._paid(_response(completion.extra.get(EVENT)), usage))

    def error_event(self, _status: int, body: Fields, /) -> bytes:
        error = body.get("error") or {}
        return self._events([{"type": "error", **{name: error.get(name) for name in ("code", "message", "param")}}])

    def _events(self, events: Iterable[Fields]) -> bytes:
        written = []
        for event in events:
            written.append(named_event({**event, "sequence_number": self._number}))
            self._number += 1
        return b"".join(written)

    def _named(self, response: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: self._body.get(name) for name in _OF_THE_CALLER if name in response or name in self._body}
        return {**response, **own, "id": self.id, "created_at": self._created}

    def _paid(self, response: Mapping[str, Any], usage: Usage) -> dict[str, Any]:
        """With the usage it is billed with: its own, or nothing where hits are free."""
        named = self._named(response)
        said = named.get("usage")
        is_free = not usage.prompt_tokens and not usage.completion_tokens
        return {**named, "usage": {**said, **usage_of(usage)}} if isinstance(said, Mapping) and is_free else named


def _response(event: Any) -> Mapping[str, Any]:
    response = event.get("response") if isinstance(event, Mapping) else None
    return response if isinstance(response, Mapping) else {}


def told_again(response: Mapping[str, Any], last: str) -> Iterator[dict[str, Any]]:
    """The events that spell a whole response."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(objects(response.get("output"))):
        yield from _item(index, item)
    yield {"type": last, "response": dict(response)}


def _item(index: int, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"output_index": index, "item_id": item.get("id")}
    call, content = _CALLS.get(str(item.get("type"))), item.get("content")
    begun = {**item, **({"status": "in_progress"} if "status" in item else {})}
    if isinstance(content, list):
        begun["content"] = []
    if call is not None:
        begun[call[0]] = ""
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    for number, part in enumerate(objects(content)):
        yield from _part({**at, "content_index": number}, part)
    if call is not None:
        name, kind = call
        yield {**at, "type": f"{kind}.delta", "delta": item.get(name) or ""}
        yield {**at, "type": f"{kind}.done", name: item.get(name) or ""}
    yield {"type": "response.output_item.done", "output_index": index, "item": dict(item)}


def _part(at: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = str(part.get("type"))
    name = _GROWING.get(kind)
    if name is None:
        yield {**at, "type": "response.content_part.added", "part": dict(part)}
    else:
        logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
        empty = {**part, name: "", **({"annotations": [], "logprobs": []} if logprobs else {})}
        yield {**at, "type": "response.content_part.added", "part": empty}
        yield {**at, "type": f"response.{kind}.delta", "delta": part.get(name) or "", **logprobs}
        for number, cited in enumerate(objects(part.get("annotations"))):
            numbered = {"annotation_index": number, "annotation": cited}
            yield {**at, "type": "response.output_text.annotation.added", **numbered}
        yield {**at, "type": f"response.{kind}.done", name: part.get(name) or "", **logprobs}
    yield {**at, "type": "response.content_part.done", "part": dict(part)}
