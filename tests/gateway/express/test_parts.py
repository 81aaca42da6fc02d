"""What a request is known by, what is kept under a budget, and how an answer is cut and joined."""

import re
from dataclasses import dataclass, field

import pytest

from backends.chat import Choice, Completion, Delta, Usage, collect, replay
from gateway.express.prepared import ID_CHARS, Answer, body_of
from gateway.express.reading import Known, known_as, without_passing
from gateway.express.table import Table, Wait
from gateway.outcome import Outcome
from gateway.shapes.base import Envelope
from gateway.shapes.chat import ChatEnvelope
from gateway.shapes.completions import CompletionEnvelope
from gateway.shapes.messages.reply import MessageEnvelope

HEAD = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
HEADERS = [(b"host", b"a"), (b"content-length", b"2")]


def known(raw: bytes, headers: list[tuple[bytes, bytes]], body: bytes = b"{}") -> Known | None:
    return known_as(raw, b"POST", b"/v1/x", headers, body)


def with_lines(*lines: bytes) -> bytes:
    return HEAD.replace(b"Host: a", b"\r\n".join((b"Host: a", *lines))) + b"{}"


def test_a_plain_request_is_known_by_all_of_its_bytes() -> None:
    read = known(HEAD + b"{}", HEADERS)

    assert read is not None
    assert read.key == HEAD + b"{}"


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (HEAD + b"{}GET", HEADERS),  # another one behind it
        (b"\r\n" + HEAD + b"{}", HEADERS),
        (HEAD.replace(b"1.1", b"1.0") + b"{}", HEADERS),
        (HEAD.replace(b"Host: a", b"Host: b") + b"{}", HEADERS),  # the parser has read another one
        (HEAD.replace(b"\r\nContent", b"\nContent") + b"{}", HEADERS),
        (with_lines(b"Expect: 100-continue"), [HEADERS[0], (b"expect", b"100-continue"), HEADERS[1]]),
        (with_lines(b"Connection: close"), [HEADERS[0], (b"connection", b"close"), HEADERS[1]]),
        (with_lines(b"Upgrade: h2c"), [HEADERS[0], (b"upgrade", b"h2c"), HEADERS[1]]),
        (with_lines(b"Content-Length: 2"), [HEADERS[0], HEADERS[1], HEADERS[1]]),
        (HEAD.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"{}", [HEADERS[0]]),
    ],
)
def test_whatever_is_not_plain_is_not_known(raw: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    assert known(raw, headers) is None


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([b"X-Request-Id: a-1"], b"a-1"),
        ([b"traceparent: 00-1", b"x-request-id:b", b"x-request-id: c"], b"b"),
        ([b"x-request-id: two words", b"x-request-id: c"], b"two words"),  # no id: one is made, as on the whole road
        ([b"tracestate:", b"b3: 0"], b""),
    ],
)
def test_passing_lines_are_left_out(lines: list[bytes], name: bytes) -> None:
    head = with_lines(*lines)[:-2]

    assert without_passing(head) == (HEAD, name)


@pytest.mark.parametrize(
    "line",
    [b"x-request-id : a", b"x-request-ids: a", b"x-request-id: a\tb", b"x-request-id: \xe4", b" x-request-id: a"],
)
def test_a_line_in_another_spelling_is_no_passing_line(line: bytes) -> None:
    kept = without_passing(with_lines(line)[:-2])

    assert kept is not None
    assert line in kept[0]


@dataclass
class Thing:
    known: Known
    size_bytes: int = 30
    name: str = field(default="", compare=False)


def known_by(head: bytes, body: bytes) -> Known:
    return Known(head + body, head, len(body))


def test_the_beginning_of_a_known_request_is_waited_for() -> None:
    table: Table[Thing] = Table(1000)
    table.put(Thing(known_by(HEAD, b"{}")))

    assert table.look(HEAD) == table.look(HEAD + b"{") == Wait(len(HEAD) + 2)
    assert table.look(with_lines(b"b3: 1")[:-1]) == Wait(len(with_lines(b"b3: 1")))
    assert table.look(with_lines(b"b3: 1")) == (table.get(HEAD + b"{}"), b"")
    for other in (HEAD[:-2], HEAD + b"[]", HEAD + b"{}G", HEAD.replace(b"a", b"b"), with_lines(b"b3: 1") + b"G"):
        assert table.look(other) is None


def test_a_budget_lets_go_of_what_was_asked_least_lately() -> None:
    table: Table[Thing] = Table(16 * 30)
    things = [Thing(known_by(HEAD, b"%d" % number)) for number in range(10, 28)]
    for thing in things[:16]:
        table.put(thing)
    assert table.get(HEAD + b"10") is things[0]
    table.put(things[16])
    table.put(Thing(known_by(b"large", b""), 31))

    assert [thing.known.key[-2:] for thing in table.things()][-2:] == [b"10", b"26"]
    assert things[1] not in table.things()
    assert (len(table), table.size_bytes) == (16, 480)
    table.drop(things[1])  # is not there: nothing happens
    for thing in table.things():
        table.drop(thing)
    assert (len(table), table.size_bytes, table.look(HEAD)) == (0, 0, None)


def test_what_comes_with_too_long_a_head_is_for_the_whole_road() -> None:
    table: Table[Thing] = Table(1000, len(HEAD))
    table.put(Thing(known_by(HEAD, b"{}")))

    assert table.look(HEAD) is not None
    assert table.look(with_lines(b"b3: 1")) is None


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
COMPLETIONS = [
    Completion((Choice({"role": "assistant", "content": '\u5757 and "created":1'}, "stop"),), Usage(3, 4)),
    Completion((Choice({"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls"),), Usage(3, 4)),
    Completion(
        tuple(Choice({"role": "assistant", "content": text}, "stop") for text in "ab"),
        Usage(1, 2, 1),
        {"system_fingerprint": "fp"},
    ),
]


def envelopes() -> list[Envelope]:
    return [
        ChatEnvelope("m"),
        ChatEnvelope("m", include_usage=True),
        CompletionEnvelope("m", include_usage=True),
        MessageEnvelope("m"),
    ]


@pytest.mark.parametrize("completion", COMPLETIONS)
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_cut_and_joined_is_what_the_shape_writes(completion: Completion, number: int, is_stream: bool) -> None:
    envelope, usage = envelopes()[number], completion.usage
    deltas: list[Delta] = list(replay(completion))
    if is_stream:
        events = [envelope.start(), *map(envelope.chunk, deltas), envelope.end(usage, deltas[-1].extra)]
        written = b"".join(events)
    else:
        written = envelope.completion(collect(deltas), usage)
    now_s = 1_795_000_000 if not hasattr(envelope, "created") else envelope.created

    body = body_of(envelopes()[number], completion, usage, is_stream=is_stream)

    assert body is not None
    assert (envelope.id.encode()).join(body.at(now_s)) == written
    said = Answer(body, Outcome("exact", "same_request", age_s=2.0), now_s - 5.0).said(
        now_s, [(b"date", b"today")], envelope.id[-ID_CHARS:].encode(), b"req_1", 0.00001
    )
    head, _, told = said.partition(b"\r\n\r\n")
    assert b"\r\nage: 7\r\n" in head
    assert b"\r\nx-twicetold-overhead-ms: 0.01\r\n" in head
    if is_stream:
        told = told.removesuffix(b"\r\n0\r\n\r\n")
        size, _, told = told.partition(b"\r\n")
        assert int(size, 16) == len(told)
    else:
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        assert int(length[1]) == len(told)
    assert told == written
