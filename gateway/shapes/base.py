"""What every API shape is: a way to read a body, and a way to write the answer and the errors.

    body --Shape.parse--> Parsed (a `ChatRequest`, and what is asked of the cache)
    stream of Delta --Envelope--> one object, or server-sent events

All shapes end in the one chat vocabulary, so keys, guards, tools and backends see one thing, and an answer kept by one
shape can be given by another. What a shape says that the vocabulary has no word for stays in `params` under its own
name, and so is part of the key.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from backends.chat import ChatRequest, Completion, Delta, Fields, Usage
from gateway.callers.auth import Headers
from gateway.quota.told import Dialect


@dataclass(frozen=True, slots=True)
class Parsed:
    """One body, read."""

    request: ChatRequest
    body: Fields  # as it came
    cache: Any = None  # the `cache` field, unchecked
    cache_salt: str = ""
    include_usage: bool = False  # a stream tells its usage; some shapes always do
    follows: str = ""  # the response it goes on from, whose conversation comes before what it says
    num_told: int = 0  # of its first messages, how many are instructions and no part of the conversation
    is_continued: bool = False  # a later request may follow its response
    others: tuple[ChatRequest, ...] = ()  # further prompts of the same body; their choices follow
    name: str = ""  # what its response is called; empty: as the shape calls it


class Envelope(Protocol):
    """One response on its way out: what every piece of it repeats, and what was said so far."""

    id: str

    def start(self) -> bytes:
        """The events that open a stream; may be none."""

    def chunk(self, delta: Delta) -> bytes:
        """The events of one delta; none for what this shape has no word for."""

    def end(self, usage: Usage, extra: Fields) -> bytes:
        """The events that close a stream; `extra` is of the last delta."""

    def completion(self, completion: Completion, usage: Usage) -> bytes:
        """The whole answer as one object."""

    def error_event(self, status: int, body: Fields, /) -> bytes:
        """An error in the middle of a stream; `body` is OpenAI's."""


class Shape(Protocol):
    """One API. Stateless: one value serves all requests."""

    route: str  # its name in the ledger: chat, completions, responses, messages
    dialect: Dialect  # whose names its headers about limits have

    def parse(self, raw: bytes) -> Parsed:
        """Read a body. Raises `InvalidRequest` naming the field, and nothing else."""

    def envelope(self, parsed: Parsed) -> Envelope: ...

    def error(self, status: int, body: Fields, /) -> Fields:
        """OpenAI's error body as this shape has it."""

    def with_headers(self, request: ChatRequest, headers: Headers, /) -> ChatRequest:
        """The request with what is asked in its headers; for most, nothing is."""

    def credential(self, headers: Headers) -> str | None:
        """Who asks; `gateway.callers.auth.read_credential` for most."""


def dump(value: Any) -> bytes:
    """JSON; read-only mappings become objects."""
    return orjson.dumps(value, default=dict)


def data_event(body: Fields) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + dump(body) + b"\n\n"


def named_event(body: Fields) -> bytes:
    """A server-sent event named after its `type`, as the Responses and the Messages API have them."""
    return b"event: " + str(body["type"]).encode() + b"\n" + data_event(body)
