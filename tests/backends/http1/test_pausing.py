"""How far ahead of its reader a connection takes in, to the byte."""

import asyncio
import socket
from typing import Any

from backends.http1.connection import MAX_AHEAD, Connection


class Recorded(asyncio.Transport):
    """A transport of which nothing leaves: it keeps what is asked of it."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__({"socket": end})
        self.asked: list[str] = []

    def write(self, data: Any) -> None:
        self.asked.append("write")

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def abort(self) -> None:
        self.asked.append("abort")


async def test_reading_pauses_one_byte_after_what_may_lie_ahead_and_resumes_once_it_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop, transport = asyncio.get_running_loop(), Recorded(ours)
        connection = Connection(loop, lambda _: None)
        connection.connection_made(transport)
        connection.send(b"POST / HTTP/1.1\r\n\r\n")
        steps = []
        for data in (b"HTTP/1.1 200 OK\r\n\r\n", bytes(MAX_AHEAD), b"x", b"y"):
            connection.data_received(data)
            steps.append(transport.asked[1:])
        said = await connection.read(loop.time() + 5)

    assert steps == [[], [], ["pause"], ["pause"]]
    assert said == bytes(MAX_AHEAD) + b"xy"
    assert transport.asked == ["write", "pause", "resume"]
