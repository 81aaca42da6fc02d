"""OpenAI's chat completion JSON, read into our vocabulary. Pure: bytes and values in, values or `BackendError` out."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import orjson

from backends.call_numbers import CallNumbers
from backends.chat import NOTHING, ChatRequest, Choice, Completion, Delta, Fields, Usage
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
from backends.openai_choice import finish_reason, is_message, logprobs_of, said

# The envelope the gateway writes itself, and the padding against traffic analysis that fits one reply only.
_OWN_FIELDS = frozenset({"id", "object", "created", "choices", "usage", "obfuscation"})
_OF_ONE_CHUNK = frozenset({"choices", "obfuscation"})
_PLAIN = frozenset({"index", "delta", "finish_reason", "logprobs"})  # fields of a choice that says a text

MAX_RETRY_AFTER_S = 3600.0  # whoever asks for more is not believed
UNSAID_WAIT_S = 1.0  # of one that says it cannot now, and not when
TOO_MANY = 429
UNAVAILABLE = 503
OVERLOADED = 529
_UNPAID = frozenset(
    {"insufficient_quota", "insufficient_balance", "insufficient_credits", "billing_error", "billing_not_active"}
    | {"billing_hard_limit_reached", "exceeded_current_quota_error"}
)

Amend = Callable[[dict[str, Any], ChatRequest], dict[str, Any]]


def usage_of(wire: Fields) -> Fields | None:
    """The usage of a chunk or of a whole answer where OpenAI has it."""
    return wire.get("usage") or None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server's answers differ from OpenAI's."""

    usage: Callable[[Fields], Fields | None] = usage_of  # of a chunk or an answer, spelled as OpenAI does
    fleeting: frozenset[str] = frozenset()  # envelope fields about the making of this one answer: not to be kept
    of_choices: frozenset[str] = frozenset()  # fields of a choice that are worth keeping; they go to the envelope
    choice: Callable[[Any], Any] | None = None  # of another API than chat, spelled as chat's
    blames: re.Pattern[str] | None = None  # words of a failure (500) that is the request's; `context`: it is too long


OPENAI = Dialect()


def as_it_is(body: dict[str, Any], _request: ChatRequest) -> dict[str, Any]:
    """No amendment."""
    return body


def request_body(request: ChatRequest, *, predicts: bool = False, amend: Amend = as_it_is) -> bytes:
    """The body to send: the caller's as it came; streamed, it asks for usage too. Raises `RequestRejected`.

    `predicts`: the near answer goes along as OpenAI's `prediction`, where it is allowed. `amend` has the last word.
    """
    body = {**request.body(), "stream": request.stream}
    if predicts and request.near_answer and _may_predict(request):
        body["prediction"] = {"type": "content", "content": request.near_answer}
    options = body.get("stream_options") or {}
    if request.stream and isinstance(options, Mapping):
        body["stream_options"] = {**options, "include_usage": True}
    return write_json(amend(body, request))


def write_json(body: Mapping[str, Any]) -> bytes:
    """A body as bytes. Raises `RequestRejected`."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:  # a number beyond 64 bits, half a surrogate pair
        raise RequestRejected(f"the request cannot be written as JSON: {error}") from error


def _may_predict(request: ChatRequest) -> bool:
    """Whether OpenAI takes a prediction beside the other fields."""
    given = {key: value for key, value in request.params.items() if value}
    if given.keys() & {"prediction", "tools", "functions", "logprobs", "max_completion_tokens", "audio"}:
        return False
    penalties = (given.get("presence_penalty", 0), given.get("frequency_penalty", 0))
    has_penalty = any(isinstance(penalty, int | float) and penalty > 0 for penalty in penalties)
    return not has_penalty and given.get("n", 1) == 1 and given.get("modalities", ["text"]) == ["text"]


def parse_json(payload: bytes, upstream: str) -> Mapping[str, Any]:
    """The object in `payload`. Raises `BackendGarbage`."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BackendGarbage(f"{upstream} sent something that is not JSON") from error
    if is_deep(payload, value):
        raise BackendGarbage(f"{upstream} sent JSON that is nested too deeply")
    if not isinstance(value, dict):
        raise BackendGarbage(f"{upstream} sent JSON that is not an object")
    return value


class StreamReader:
    """Reads the chunks of one streamed answer, and knows when the answer is whole."""

    def __init__(self, upstream: str, num_choices: int = 1, dialect: Dialect = OPENAI) -> None:
        self.is_done = False
        self._upstream = upstream
        self._num_choices = num_choices
        self._dialect = dialect
        self._extra: Fields = NOTHING  # of the last chunk
        self._around: Fields | None = None  # what the last chunk said beside its choices, if that was no usage
        self._is_finished: dict[int, bool] = {}  # per choice seen
        self._calls: dict[int, CallNumbers] = {}  # per choice that calls tools

    def read(self, payload: bytes) -> Iterator[Delta]:
        """The deltas of one event. Raises `BackendError` for an error object or what is not a chunk."""
        if payload == b"[DONE]":
            self.is_done = True
            return
        chunk = parse_json(payload, self._upstream)
        choices = chunk.get("choices")
        around = {key: value for key, value in chunk.items() if key not in _OF_ONE_CHUNK}
        if around == self._around and (piece := self._piece(choices)) is not None:
            yield piece
            return
        if chunk.get("error"):
            raise error_in_answer(chunk["error"], self._upstream, self._dialect)
        usage = _usage(chunk, self._upstream, self._dialect)
        self._around = around if usage is None and not self._dialect.of_choices else None
        if not isinstance(choices, list) and (choices is not None or usage is None):
            raise BackendGarbage(f"{self._upstream} sent a chunk without choices")
        extra = _extra(chunk, self._dialect)
        extra = self._extra = self._extra if extra == self._extra else extra  # one for all: an answer is held in pieces
        for choice in choices or ():
            yield self._delta(choice if self._dialect.choice is None else self._dialect.choice(choice), extra)
        if usage is not None or (extra and not choices):
            yield Delta(usage=usage, extra=extra)

    def check_whole(self) -> None:
        """Say that the stream ended, with `[DONE]` or without. Raises `BackendGarbage` when the answer did not."""
        is_whole = bool(self._is_finished) and all(self._is_finished.values())
        # Without [DONE], a choice that never began is missing too.
        if not is_whole or (not self.is_done and len(self._is_finished) < self._num_choices):
            raise BackendGarbage(f"{self._upstream} was cut off mid-stream")

    def _piece(self, choices: Any) -> Delta | None:
        """The piece of a chunk that says a text and nothing else, as nearly all do; None for any other."""
        if self._dialect.choice is not None or type(choices) is not list or len(choices) != 1:
            return None
        choice = choices[0]
        if type(choice) is not dict or not choice.keys() <= _PLAIN or choice.get("logprobs") is not None:
            return None
        fields, index = choice.get("delta"), choice.get("index")
        if type(fields) is not dict or type(index) is not int or choice.get("finish_reason") is not None:
            return None
        if len(fields) != 1 or type(fields.get("content")) is not str or index not in self._is_finished:
            return None
        return Delta(index, fields, None, None, None, self._extra)

    def _delta(self, choice: Any, extra: Fields) -> Delta:
        fields = choice.get("delta") or NOTHING if isinstance(choice, dict) else None
        is_piece = fields is not None and not ("message" in choice and "delta" not in choice)  # not a whole answer
        if not is_piece or not is_message(fields):
            raise BackendGarbage(f"{self._upstream} sent a choice that is not one")
        fields = said(fields)
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        finish = finish_reason(choice, self._upstream)
        if finish is not None:
            self._is_finished[index] = True
        elif index not in self._is_finished:
            self._is_finished[index] = False
        if fields.get("tool_calls"):
            numbers = self._calls.setdefault(index, CallNumbers())
            fields = {**fields, "tool_calls": numbers.renumbered(fields["tool_calls"])}
        return Delta(index, fields, finish, logprobs_of(choice, self._upstream), None, extra)


def parse_completion(payload: bytes, upstream: str, dialect: Dialect = OPENAI) -> Completion:
    """A whole answer. Raises `BackendError` for an error object or what is not a completion."""
    wire = parse_json(payload, upstream)
    if wire.get("error"):
        raise error_in_answer(wire["error"], upstream, dialect)
    try:
        spelled = wire["choices"] if dialect.choice is None else map(dialect.choice, wire["choices"])
        choices = sorted(spelled, key=lambda choice: choice.get("index") or 0)
        read = tuple(Choice(said(c["message"]), finish_reason(c, upstream), logprobs_of(c, upstream)) for c in choices)
    except (KeyError, TypeError, AttributeError) as error:
        raise BackendGarbage(f"{upstream} sent something that is not a completion") from error
    if not read or not all(is_message(choice.message) for choice in read):
        raise BackendGarbage(f"{upstream} sent a completion without messages")
    return Completion(read, _usage(wire, upstream, dialect) or Usage(), _extra(wire, dialect))


def error_from_reply(
    status: int, headers: Mapping[str, str], body: bytes, upstream: str, dialect: Dialect = OPENAI
) -> BackendError:
    """What a reply that is not a success means for the caller."""
    error = _error_object(body)
    return _blamed(status, error, dialect) or _error(status, error, upstream, retry_after_s(headers))


def error_in_answer(error: Any, upstream: str, dialect: Dialect = OPENAI) -> BackendError:
    """What an error object inside an answer that began as a success means."""
    fields = _as_fields(error)
    code = fields.get("code")
    return _blamed(500, fields, dialect) or _error(
        code if isinstance(code, int) and 400 <= code < 600 else 500, fields, upstream, None
    )


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds the upstream asks us to wait (`retry-after-ms`, or `Retry-After` in seconds or as a date)."""
    for name, units_per_s in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(KeyError, ValueError):
            wait_s = float(headers[name]) / units_per_s
            return min(MAX_RETRY_AFTER_S, max(0.0, wait_s)) if isfinite(wait_s) else None
    try:
        moment = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    wait_s = (moment.replace(tzinfo=moment.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds()
    return min(MAX_RETRY_AFTER_S, max(0.0, wait_s))


def is_unpaid(status: int, error: Fields | None) -> bool:
    """Whether it is the operator's account there that is refused: no credit, no quota."""
    said = {str((error or {}).get(field)).lower() for field in ("code", "type")}
    return status == 402 or (400 <= status < 500 and not said.isdisjoint(_UNPAID))


def _blamed(status: int, error: Fields | None, dialect: Dialect) -> RequestRejected | None:
    """A failure that is the request's own fault, whatever the server calls it."""
    message = str((error or {}).get("message"))
    found = dialect.blames.search(message) if dialect.blames is not None and status == 500 else None
    if found is None:
        return None
    return RequestRejected(message, code="context_length_exceeded" if found["context"] else None)


def _error(status: int, error: Fields | None, upstream: str, wait_s: float | None) -> BackendError:
    if status in (401, 403):
        return UpstreamAuth(f"{upstream} refuses the gateway's credentials")
    if is_unpaid(status, error):
        return UpstreamBilling(f"{upstream} refuses the gateway's account: no credit is left, or its quota is used up")
    if status == 408:
        return BackendTimeout(f"{upstream} gave up waiting")
    if status == OVERLOADED:
        return BackendBusy(f"{upstream} is overloaded", retry_after_s=wait_s)
    if status >= 500:
        wait_s = UNSAID_WAIT_S if status == UNAVAILABLE and wait_s is None else wait_s
        return BackendError(f"{upstream} failed (status {status})", retryable=True, retry_after_s=wait_s)
    if status < 400 or (status in (404, 405) and error is None):
        return BackendGarbage(f"{upstream} has no chat completions under its URL (status {status})")
    error = error or {}
    code, param = error.get("code"), error.get("param")
    if status == TOO_MANY and not isinstance(code, str):
        code = "rate_limit_exceeded"
    return RequestRejected(
        str(error.get("message") or f"{upstream} refused the request (status {status})"),
        param=param if isinstance(param, str) else None,
        code=code if isinstance(code, str) else None,
        status=status,
        error=error or None,
        retry_after_s=wait_s,
    )


def _error_object(body: bytes) -> Fields | None:
    """The error object of a reply: OpenAI's, Gemini's list of one, vLLM's flat one, or a bare string; else None."""
    try:
        wire = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if is_deep(body, wire):
        return None
    if isinstance(wire, list) and wire:
        wire = wire[0]
    if not isinstance(wire, dict):
        return None
    if wire.get("object") == "error":
        return {key: value for key, value in wire.items() if key != "object"}
    return _as_fields(wire["error"]) if wire.get("error") else None


def _usage(wire: Mapping[str, Any], upstream: str, dialect: Dialect) -> Usage | None:
    try:
        usage = dialect.usage(wire)
        if usage is None:
            return None
        return Usage.from_wire({key: said(value) for key, value in usage.items() if value is not None})
    except (AttributeError, TypeError, ValueError) as error:
        raise BackendGarbage(f"{upstream} sent a usage that is not one") from error


def _as_fields(error: Any) -> Fields:
    return error if isinstance(error, dict) else {"message": str(error)}


def _extra(wire: Mapping[str, Any], dialect: Dialect) -> Fields:
    """What the envelope says beyond what the gateway writes itself."""
    left_out = _OWN_FIELDS | dialect.fleeting if dialect.fleeting else _OWN_FIELDS
    extra = {key: value for key, value in wire.items() if key not in left_out and value is not None}
    for choice in (wire.get("choices") or ()) if dialect.of_choices else ():
        extra.update({key: choice[key] for key in dialect.of_choices if isinstance(choice, dict) and choice.get(key)})
    return extra or NOTHING
