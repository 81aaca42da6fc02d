"""OpenAI's Responses API as it is: a body goes out as it came, and its events come back as they were said.

Every event rides in a delta's `extra`, so nothing is lost on the way; beside it goes what chat has a word for, so that
whoever keeps or counts the answer can read it. Of an answer that is put together the last event stays: the whole
response. Where that is not what the events before it have said, the client hears all of it as it was said (servers are
known to leave the whole empty, and the pieces are good), but it has not ended by itself: nobody keeps it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from backends.chat import ChatRequest, Choice, Completion, Delta, Fields, Usage
from backends.errors import BackendError, BackendGarbage, RequestRejected
from backends.flavours.base import Api, Reader, Wishes
from backends.flavours.restated import Restated
from backends.openai_wire import Amend, error_in_answer, parse_json, write_json

EVENT = "response_event"  # the name of an event in a delta's `extra`
CONTRADICTED = "contradicted"  # how an answer ends whose whole is not the sum of its parts
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_NOT_FOUND = (404, 405, 501)


def lacks_api(error: BackendError) -> bool:
    """Whether a failure says that the server knows no such path, and nothing of the request."""
    if isinstance(error, BackendGarbage):
        return True
    if not isinstance(error, RequestRejected) or error.status not in _NOT_FOUND or error.param is not None:
        return False
    return (error.error or {}).get("code") in (None, *_NOT_FOUND, "404", "not_found")


def _read_whole(payload: bytes, upstream: str) -> Completion:
    response = _response(parse_json(payload, upstream), upstream)
    event = {"type": f"response.{response.get('status', 'completed')}", "response": response}
    choice = Choice({"role": "assistant", **_message(response)}, _finish(response))
    return Completion((choice,), _usage(response, upstream), {EVENT: event})


class ResponseReader:
    """Reads the events of one response."""

    def __init__(self, upstream: str) -> None:
        self.is_done = False
        self._upstream = upstream
        self._num_calls = 0
        self._said = Restated()

    def read(self, payload: bytes) -> Iterator[Delta]:
        """The delta of one event. Raises `BackendError` for a failure or what is no event."""
        if payload == b"[DONE]":
            return
        event = parse_json(payload, self._upstream)
        kind = event.get("type")
        if kind == "error" or (event.get("error") and kind is None):
            raise error_in_answer(event.get("error") or event, self._upstream)
        if not isinstance(kind, str):
            raise BackendGarbage(f"{self._upstream} sent an event without a type")
        extra = {EVENT: event}
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            response = _response(event.get("response"), self._upstream)
            self.is_done = True
            finish = _finish(response)
            if finish == "stop" and self._said.contradicts(response):
                finish = CONTRADICTED
            yield Delta(finish_reason=finish, usage=_usage(response, self._upstream), extra=extra)
        else:
            yield Delta(fields=self._fields(kind, event), extra=extra)
            self._said.hear(kind, event)

    def check_whole(self) -> None:
        if not self.is_done:
            raise BackendGarbage(f"{self._upstream} was cut off mid-stream")

    def _fields(self, kind: str, event: Mapping[str, Any]) -> Fields:
        if kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
            return {"content": event["delta"]}
        call = _call(event.get("item")) if kind == "response.output_item.done" else None
        if call is None or self._said.has_item(event):
            return {}
        self._num_calls += 1
        return {"tool_calls": [{"index": self._num_calls - 1, **call}]}


def _response(wire: Any, upstream: str) -> Mapping[str, Any]:
    """A response that has come to an end. Raises `BackendError` for one that failed, or is none."""
    if not isinstance(wire, Mapping) or not _are_items(wire.get("output")):
        raise BackendGarbage(f"{upstream} sent something that is not a response")
    if wire.get("error"):
        raise error_in_answer(wire["error"], upstream)
    if wire.get("status") not in (None, "completed", "incomplete"):
        raise BackendGarbage(f"{upstream} sent a response that is {str(wire['status'])[:40]}")
    if not isinstance(wire.get("id"), str):
        raise BackendGarbage(f"{upstream} sent a response without an id")
    return wire


def _are_items(output: Any) -> bool:
    """Whether this is an output, as far as it is read: items, and parts in them."""
    if output is None:
        return True
    if not isinstance(output, list) or not all(isinstance(item, Mapping) for item in output):
        return False
    contents = [content for item in output if (content := item.get("content")) is not None]
    return all(isinstance(content, str) or _are_parts(content) for content in contents)


def _are_parts(content: Any) -> bool:
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        return False
    return all(isinstance(part.get("annotations"), list | None) for part in content)


def _message(response: Mapping[str, Any]) -> dict[str, Any]:
    """What chat has a word for."""
    items = [item for item in response.get("output") or () if isinstance(item, Mapping)]
    parts = [part for item in items if isinstance(item.get("content"), list) for part in item["content"]]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "output_text"]
    said: dict[str, Any] = {"content": "".join(text for text in texts if isinstance(text, str)) or None}
    calls = [call for item in items if (call := _call(item)) is not None]
    return {**said, "tool_calls": calls} if calls else said


def _call(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, Mapping) or item.get("type") != "function_call":
        return None
    function = {"name": str(item.get("name") or ""), "arguments": str(item.get("arguments") or "")}
    return {"id": str(item.get("call_id") or ""), "type": "function", "function": function}


def _finish(response: Mapping[str, Any]) -> str:
    if response.get("status") != "incomplete":
        return "stop"
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    return _REASONS.get(str(reason), "length")


def _usage(response: Mapping[str, Any], upstream: str) -> Usage:
    told = response.get("usage") or {}
    try:
        wire = {"prompt_tokens": told.get("input_tokens"), "completion_tokens": told.get("output_tokens")}
        details = {"prompt": told.get("input_tokens_details"), "completion": told.get("output_tokens_details")}
        return Usage.from_wire({**wire, **{f"{kind}_tokens_details": one for kind, one in details.items() if one}})
    except (AttributeError, TypeError, ValueError) as error:
        raise BackendGarbage(f"{upstream} sent a usage that is not one") from error


def responses_api(amend: Amend) -> Api:
    """The Responses API of a server whose bodies are amended so: an engine is told the salt here too."""

    def write(request: ChatRequest, _: Wishes) -> bytes:
        body = {**(request.native or {}), "model": request.model, "stream": request.stream}
        return write_json(amend(body, request))

    def reader(upstream: str, _: ChatRequest) -> Reader:
        return ResponseReader(upstream)

    return Api("/responses", write, reader, _read_whole)
