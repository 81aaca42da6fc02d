"""The first text of a stream is timed when it comes, however it is framed; and there is an upstream to time it by."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench.http1 import Connection
from bench.instant import ANSWERS, IN_PIECES, STREAMED, Instant

FIRST, REST = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
SIZED = (HEAD + b"content-length: %d\r\n\r\n" % len(FIRST + REST) + FIRST, REST)
CHUNKED = (
    HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(FIRST), FIRST),
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(REST), REST),
)
_TEXT = re.compile(rb'"content":"[^"]')


@asynccontextmanager
async def listening(new: Callable[[], asyncio.Protocol]) -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(new, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Halting(asyncio.Protocol):
    """Sends the first piece, and the second when it is told to."""

    def __init__(self, pieces: tuple[bytes, bytes], told: asyncio.Event) -> None:
        self.pieces, self.told = pieces, told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, _: bytes) -> None:
        self.transport.write(self.pieces[0])
        self.going_on = asyncio.create_task(self.go_on())

    async def go_on(self) -> None:
        await self.told.wait()
        self.transport.write(self.pieces[1])


@pytest.mark.parametrize("pieces", [pytest.param(SIZED, id="sized"), pytest.param(CHUNKED, id="chunked")])
async def test_a_text_is_timed_when_it_comes_and_not_at_the_end(pieces: tuple[bytes, bytes]) -> None:
    told = asyncio.Event()
    async with listening(lambda: Halting(pieces, told)) as url, Connection(url, "/") as connection:
        began_s = time.perf_counter()
        asking = asyncio.create_task(connection.post(b"{}"))
        await asyncio.sleep(0.2)  # the first piece is read meanwhile
        until_told_s = time.perf_counter() - began_s
        told.set()
        found = await asking

    assert found.first_s <= until_told_s <= found.total_s
    assert found.body == FIRST + REST


async def test_a_stream_in_pieces_says_the_same_as_one_at_once_and_has_a_text_in_its_first() -> None:
    async with listening(Instant) as url, Connection(url, "/") as connection:
        at_once = {(await connection.post(asked("any", number))).body for number in range(300)}
        in_pieces = await connection.post(asked(IN_PIECES, 0))
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        body = asked(IN_PIECES, 0)
        writer.write(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"\r\n\r\n")
        first = await reader.readexactly(int(await reader.readline(), 16))
        writer.close()

    known = {reply.partition(b"\r\n\r\n")[2] for reply in STREAMED}
    assert len(known) == ANSWERS, "answers are not distinct"
    assert at_once <= known
    assert len(at_once) > ANSWERS / 2
    assert in_pieces.headers["transfer-encoding"] == "chunked"
    assert in_pieces.body in known
    assert len(_TEXT.findall(first)) == 1, "the first chunk holds the first text and no other"


def asked(model: str, number: int) -> bytes:
    return json.dumps({"model": model, "messages": [], "user": str(number), "stream": True}).encode()
