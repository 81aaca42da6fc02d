"""An upstream that costs next to nothing: prepared bytes for whoever asks, on bare sockets.

`python -m bench.instant` serves answers like those of the tests' upstream on a free port: what is measured through it
is whoever stands before it. It reads a POST with a content-length, and nothing else that HTTP may be. Requests of other
bytes get other answers, of a few: were all equal, a cache would learn that any question serves any other.

A stream comes in one write. Asked of the model `in-pieces` it comes as a model's does, chunked: its first text in one
write, and the rest `PAUSE_S` later, so that the moment of the first text is not that of the last.
"""

import asyncio
import re
import socket
from typing import cast
from zlib import crc32

import orjson
import uvloop

from tests.upstream.answers import Answer

IN_PIECES = "in-pieces"
PAUSE_S = 0.005  # several times what a gateway takes to pass a text on
ANSWERS = 64
FIRST = 2  # events: the one that opens an answer, and its first text
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAMS = re.compile(rb'"stream": ?true')
_PIECES = re.compile(rb'"model": ?"%b"' % IN_PIECES.encode())
_END = b"\r\n\r\n"


def _reply(kind: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _events(answer: Answer) -> list[bytes]:
    return [*(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in answer.chunks()), b"data: [DONE]\n\n"]


def _pieces(events: list[bytes]) -> tuple[bytes, bytes]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    rest = b"".join(map(_chunk, events[FIRST:])) + b"0\r\n\r\n"
    return head + _chunk(b"".join(events[:FIRST])), rest


_SAID = [
    Answer({"model": "fast", "messages": f"fast {number}", "stream_options": {"include_usage": True}})
    for number in range(ANSWERS)
]
WHOLE = [_reply(b"application/json", orjson.dumps(answer.completion())) for answer in _SAID]
STREAMED = [_reply(b"text/event-stream", b"".join(_events(answer))) for answer in _SAID]
PIECES = [_pieces(_events(answer)) for answer in _SAID]
MODELS = _reply(b"application/json", b'{"object":"list","data":[]}')


class Instant(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(_END)) >= 0:
            length = _LENGTH.search(self._held, 0, end)
            size = end + len(_END) + (int(length[1]) if length else 0)
            if len(self._held) < size:
                return
            request, self._held = self._held[:size], self._held[size:]
            self._answer(request, end)

    def _answer(self, request: bytes, end: int) -> None:
        number = crc32(request) % ANSWERS
        if request.startswith(b"GET"):
            self._transport.write(MODELS)
        elif not _STREAMS.search(request, end):
            self._transport.write(WHOLE[number])
        elif not _PIECES.search(request, end):
            self._transport.write(STREAMED[number])
        else:
            first, rest = PIECES[number]
            self._transport.write(first)
            asyncio.get_running_loop().call_later(PAUSE_S, self._transport.write, rest)


async def main() -> None:
    """Serve until ended; prints the address once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.get_running_loop().create_server(Instant, sock=listener)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
