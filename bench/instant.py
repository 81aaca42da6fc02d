"""An upstream that costs next to nothing: prepared bytes for whoever asks, on bare sockets.

`python -m bench.instant` serves the answers of the tests' upstream (mode `fast`) on a free port: what is measured
through it is whoever stands before it. It reads a POST with a content-length, and nothing else that HTTP may be.
"""

import asyncio
import re
import socket
from typing import cast

import uvloop

from tests.upstream.answers import fast_bodies

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAMS = re.compile(rb'"stream": ?true')
_END = b"\r\n\r\n"


def _reply(kind: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


_WHOLE, _STREAMED = fast_bodies()
WHOLE = _reply(b"application/json", _WHOLE)
STREAMED = _reply(b"text/event-stream", _STREAMED)
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
            is_get = request.startswith(b"GET")
            self._transport.write(MODELS if is_get else STREAMED if _STREAMS.search(request, end) else WHOLE)


async def main() -> None:
    """Serve until ended; prints the address once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.get_running_loop().create_server(Instant, sock=listener)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
