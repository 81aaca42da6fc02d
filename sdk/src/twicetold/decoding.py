"""A streamed answer out of bytes: events, then chunks, then how it ended. No I/O.

decoder = ChunkDecoder()
for content in ...:                 bytes, however they are cut
    for chunk in decoder.feed(content): ...
decoder.finish()                    raises when the answer broke off
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

from twicetold.answers import Chunk
from twicetold.errors import StreamError, UnreadableError
from twicetold.sse import Event, EventDecoder

T_co = TypeVar("T_co", covariant=True)


class Decoder(Protocol[T_co]):
    """Reads one stream."""

    def feed(self, content: bytes) -> Iterator[T_co]:
        """The pieces that end in `content`. Raises `StreamError` or `UnreadableError`."""

    def finish(self) -> None:
        """The bytes are at their end. Raises `StreamError` when the answer is not."""


class ChunkDecoder:
    """Chat chunks, ended by `[DONE]`."""

    def __init__(self) -> None:
        self._events = EventDecoder()
        self._is_done = False

    def feed(self, content: bytes) -> Iterator[Chunk]:
        for event in self._events.feed(content):
            if event.data == "[DONE]":
                self._is_done = True
            elif not self._is_done:
                yield Chunk.read(_object(event))

    def finish(self) -> None:
        if not self._is_done:
            raise StreamError("the answer broke off: the connection ended before it did")


class ResponseEventDecoder:
    """Events of /v1/responses as the server has them, ended by one that says how it went."""

    _LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def __init__(self) -> None:
        self._events = EventDecoder()
        self._is_done = False

    def feed(self, content: bytes) -> Iterator[Mapping[str, Any]]:
        for event in self._events.feed(content):
            if event.data == "[DONE]":
                continue
            wire = _object(event)
            self._is_done = self._is_done or wire.get("type") in self._LAST
            yield wire

    def finish(self) -> None:
        if not self._is_done:
            raise StreamError("the response broke off: the connection ended before it did")


class LineDecoder:
    """One JSON object a line, as an export has them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> Iterator[Mapping[str, Any]]:
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            if line.strip():
                yield _read(line)

    def finish(self) -> None:
        if self._rest.strip():
            raise StreamError("the lines broke off in the middle of one")


def _object(event: Event) -> Mapping[str, Any]:
    wire = _read(event.data)
    error = wire.get("error")
    if wire.get("type") == "error" and not error:
        error = wire
    if error and wire.get("object") != "response":
        said = error.get("message") if isinstance(error, Mapping) else error
        raise StreamError(str(said or "the server failed in the middle of its answer"))
    return wire


def _read(text: str | bytes) -> Mapping[str, Any]:
    try:
        wire = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"the stream held something that is no JSON: {text[:80]!r}") from error
    if not isinstance(wire, Mapping):
        raise UnreadableError(f"the stream held something that is no object: {text[:80]!r}")
    return wire
