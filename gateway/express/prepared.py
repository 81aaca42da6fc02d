"""An answer in pieces, joined anew for each response. Pure.

    HTTP/1.1 200 OK ... x-twicetold-overhead-ms: | 0.01 | ... x-request-id: | req_... | CRLF CRLF
    {"id":" | chatcmpl-... | ","created":1763795000, ...

What is between the bars is of one response alone; the rest, with the second it is told in and the answer's age, is the
same for all responses of a second, and joined once for them. The shape writes the body itself, under a name and a time
that were drawn at random after the answer was kept, so nothing in the answer can be equal to them.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

from backends.chat import Completion, Usage, collect, replay
from gateway.express.reading import Header
from gateway.outcome import Outcome, headers_of
from gateway.shapes.base import Envelope

ID_CHARS = 32  # of the random part of a response's name
_ID = re.compile(rf"([a-z]+[-_])([0-9a-f]{{{ID_CHARS}}})")
_OVERHEAD = b"x-twicetold-overhead-ms"


class Stamped(Protocol):
    """An envelope that says when it was made."""

    id: str
    created: int


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a response, cut where its name stands."""

    pieces: tuple[bytes, ...] = field(repr=False)
    prefix: bytes  # of every name
    made: bytes  # what stands for the time; empty where none is told
    is_stream: bool

    def at(self, now_s: int) -> list[bytes]:
        """The pieces as they are told in this second."""
        if not self.made:
            return list(self.pieces)
        return [piece.replace(self.made, b"%d" % now_s) for piece in self.pieces]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.pieces))


def body_of(envelope: Envelope, completion: Completion, usage: Usage, *, is_stream: bool) -> Body | None:
    """The body that an envelope writes, in pieces; None for one whose names are of another kind."""
    if (name := _ID.fullmatch(envelope.id)) is None:
        return None
    prefix, mark, made = name[1], secrets.token_hex(ID_CHARS // 2), b""
    envelope.id = prefix + mark
    if hasattr(envelope, "created"):
        stamp = 10**17 + secrets.randbelow(9 * 10**17)  # 18 digits, which an integer of JSON may have
        cast("Stamped", envelope).created, made = stamp, b"%d" % stamp
    if is_stream:
        written = _events(envelope, completion, usage)
    else:
        written = envelope.completion(collect(replay(completion)), usage)  # as the whole road puts it together
    pieces = tuple(written.split((prefix + mark).encode()))
    return None if mark.encode() in b"".join(pieces) else Body(pieces, prefix.encode(), made, is_stream)


def _events(envelope: Envelope, completion: Completion, usage: Usage) -> bytes:
    events, extra = [envelope.start()], completion.extra
    for delta in replay(completion):
        events.append(envelope.chunk(delta))
        extra = delta.extra
    return b"".join([*events, envelope.end(usage, extra)])


@dataclass(slots=True)
class Answer:
    """Everything that is told, and what of it was joined last."""

    body: Body
    outcome: Outcome  # of one told at `at_s`
    at_s: float
    _ours: Sequence[Header] = ()  # of the joined, as the next
    _instant: tuple[int | None, ...] = ()
    _joined: tuple[bytes, bytes, list[bytes]] = field(default=(b"", b"", []), repr=False)

    def said(self, now_s: float, ours: Sequence[Header], name: bytes, request_id: bytes, overhead_s: float) -> bytes:
        """A whole response. `ours`: what the server says in every head, one list for as long as it is the same; `name`:
        the random part of the response's."""
        outcome, older_s = self.outcome, now_s - self.at_s
        age_s = None if outcome.age_s is None else max(0, int(outcome.age_s + older_s))
        ttl_s = None if outcome.ttl_s is None else int(outcome.ttl_s - older_s)
        instant = int(now_s), age_s, ttl_s
        if self._instant != instant or self._ours is not ours:
            self._joined = self._join(int(now_s), ours, replace(outcome, age_s=age_s, ttl_s=ttl_s))
            self._instant, self._ours = instant, ours
        before, behind, pieces = self._joined
        head = b"%b%.2f%b%b\r\n\r\n" % (before, overhead_s * 1000, behind, request_id)
        told = (self.body.prefix + name).join(pieces)
        return head + told

    def _join(self, now_s: int, ours: Sequence[Header], outcome: Outcome) -> tuple[bytes, bytes, list[bytes]]:
        body = self.body
        pieces = body.at(now_s)
        size = sum(map(len, pieces)) + (len(pieces) - 1) * (len(body.prefix) + ID_CHARS)
        if body.is_stream:
            own = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
            pieces[0] = b"%x\r\n%b" % (size, pieces[0])
            pieces[-1] += b"\r\n0\r\n\r\n"
        else:
            own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
        before: list[bytes] = []
        behind: list[bytes] = []
        for name, value in [*ours, *own, *headers_of(outcome)]:
            line = b"%b: %b\r\n" % (name, value)
            if name == _OVERHEAD:
                before += [*behind, name, b": "]
                behind = [b"\r\n"]
            else:
                behind.append(line)
        if body.is_stream:
            behind.append(b"transfer-encoding: chunked\r\n")
        return b"HTTP/1.1 200 OK\r\n" + b"".join(before), b"".join([*behind, b"x-request-id: "]), pieces
