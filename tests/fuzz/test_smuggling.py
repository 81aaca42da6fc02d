"""No request hides in another, however the bytes are put and whatever pieces they come in."""

import random
from collections.abc import Iterator

import pytest

from bench.fuzz.smuggling import AMBIGUOUS, H11, OURS, PLAIN, Recorder, reading, send, served
from gateway.edge.framing import OneReading, misframed

# Where httptools has no build, h11 reads what RFC 9112 lets a server read: lines that end in a line feed alone (2.2),
# folded ones (5.2), trailers, and anything at all behind the size of a chunk.
LENIENT = {"bare line feeds", "a folded first line", "a chunk extension with a bare carriage return"}
LENGTH = (b"content-length", b"1")
CHUNKED = (b"transfer-encoding", b"chunked")
HOST = (b"host", b"x")


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def ours(recorder: Recorder) -> Iterator[tuple[str, int]]:
    with served(OneReading(recorder), OURS) as address:
        yield address


@pytest.fixture(scope="module")
def h11(recorder: Recorder) -> Iterator[tuple[str, int]]:
    with served(OneReading(recorder), H11) as address:
        yield address


@pytest.mark.parametrize("form", AMBIGUOUS)
def test_what_has_two_readings_is_refused_and_hides_nothing(
    form: str, ours: tuple[str, int], recorder: Recorder
) -> None:
    seen, said = reading(ours, recorder, AMBIGUOUS[form])

    assert seen == []
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1  # the connection ends with it


def test_another_parser_hides_nothing_either(h11: tuple[str, int], recorder: Recorder) -> None:
    smuggled = set()
    for form, raw in AMBIGUOUS.items():
        seen, _ = reading(h11, recorder, raw)
        if any(path == "/smuggled" for _, path, _ in seen):
            smuggled.add(form)

    assert smuggled <= LENIENT


@pytest.mark.parametrize("form", PLAIN)
def test_what_has_one_reading_is_read_so(form: str, ours: tuple[str, int], recorder: Recorder) -> None:
    raw, wanted = PLAIN[form]

    assert tuple(reading(ours, recorder, raw)[0]) == wanted


def test_requests_read_the_same_in_whatever_pieces_they_come(ours: tuple[str, int], recorder: Recorder) -> None:
    rng = random.Random(3)
    for raw, wanted in PLAIN.values():
        cuts = sorted(rng.sample(range(1, len(raw)), 3))
        recorder.seen.clear()
        send(ours, raw, cuts=cuts)

        assert tuple(recorder.seen) == wanted


def test_an_upgrade_that_nobody_speaks_changes_nothing(ours: tuple[str, int], recorder: Recorder) -> None:
    asked = b"GET /open HTTP/1.1\r\nHost: x\r\nConnection: Upgrade%s\r\nUpgrade: %s\r\n\r\n"
    for more, protocol in ((b", HTTP2-Settings", b"h2c"), (b"", b"websocket"), (b"", b"TLS/1.0")):
        seen, said = reading(ours, recorder, asked % (more, protocol))

        assert seen == [("GET", "/open", b"")]
        assert b"101" not in said.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("version", "headers", "is_refused"),
    [
        ("1.1", [HOST], False),
        ("1.1", [HOST, LENGTH], False),
        ("1.1", [HOST, CHUNKED], False),
        ("1.1", [HOST, (b"transfer-encoding", b"Chunked")], False),
        ("1.0", [], False),
        ("2", [], False),
        ("1.1", [], True),
        ("1.1", [HOST, HOST], True),
        ("1.1", [HOST, LENGTH, LENGTH], True),
        ("1.1", [HOST, LENGTH, CHUNKED], True),
        ("1.1", [HOST, CHUNKED, CHUNKED], True),
        ("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")], True),
        ("1.0", [HOST, CHUNKED], True),
        ("0.9", [], True),
        ("2.0", [HOST], True),
    ],
)
def test_a_request_has_one_host_and_one_length(
    version: str, headers: list[tuple[bytes, bytes]], is_refused: bool
) -> None:
    assert bool(misframed(version, headers)) == is_refused
