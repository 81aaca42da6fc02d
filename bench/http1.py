"""The smallest HTTP/1.1 client that can time a server: one keep-alive connection on asyncio streams.

It costs about a tenth of what httpx does, so the figures are the server's. It knows what uvicorn sends
(content-length or chunked) and nothing else.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_TEXT = re.compile(rb'"(?:content|text)":\s*"[^"]')  # a piece of a message that says something


@dataclass(frozen=True, slots=True)
class Timed:
    """One response. Times are seconds from the first byte sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    first_s: float  # to the first text of a stream, however it is framed; to the end of a whole answer
    total_s: float


class Connection:
    """One connection; one request at a time."""

    def __init__(self, url: str, path: str, *, header: str = "", method: str = "POST") -> None:
        """`header` is one more line that every request has."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        extra = f"{header}\r\n" if header else ""
        self._head = (
            f"{method} {path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{extra}"
            "content-type: application/json\r\ncontent-length: "
        ).encode("ascii")

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(self, body: bytes) -> Timed:
        """Send `body`, read the whole response. Raises `EOFError` or `OSError` when the connection breaks."""
        request = b"%s%d\r\n\r\n%s" % (self._head, len(body), body)
        started = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, headers = _parse(head)
        if "content-length" in headers:
            is_stream = headers.get("content-type", "").startswith("text/event-stream")
            answer, first = await self._sized(int(headers["content-length"]), is_stream=is_stream)
        else:
            answer, first = await self._chunks()
        return Timed(status, headers, answer, first - started, time.perf_counter() - started)

    async def _sized(self, size: int, *, is_stream: bool) -> tuple[bytes, float]:
        first, answer = 0.0, b""
        while is_stream and not first and len(answer) < size:
            if not (piece := await self._reader.read(size - len(answer))):
                raise asyncio.IncompleteReadError(answer, size)
            answer += piece
            first = time.perf_counter() if _TEXT.search(answer) else 0.0
        answer += await self._reader.readexactly(size - len(answer))
        return answer, first or time.perf_counter()

    async def _chunks(self) -> tuple[bytes, float]:
        first, pieces = 0.0, list[bytes]()
        while size := int(await self._reader.readline(), 16):
            piece = await self._reader.readexactly(size + 2)
            if not first and _TEXT.search(piece):
                first = time.perf_counter()
            pieces.append(piece[:-2])
        await self._reader.readexactly(2)
        return b"".join(pieces), first or time.perf_counter()


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, value in pairs}
