"""Pieces that are there together are one write, and none waits for another."""

import asyncio
from typing import Any

from gateway.edge.gathering import MOST_BYTES, Gathering


class Written(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Any] = []
        self.ended = ""

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return bool(self.ended)

    def is_reading(self) -> bool:
        return True

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


async def gathered() -> tuple[Gathering, Written]:
    inner = Written()
    return Gathering(inner, asyncio.get_running_loop()), inner


async def test_what_is_written_in_one_turn_is_one_write_in_the_next() -> None:
    transport, inner = await gathered()
    for piece in (b"a", b"", b"b"):
        transport.write(piece)
    assert not inner.writes
    await asyncio.sleep(0)
    transport.write(b"c")
    await asyncio.sleep(0)

    assert inner.writes == [b"ab", b"c"]


async def test_an_answer_that_has_ended_does_not_wait() -> None:
    transport, inner = await gathered()
    transport.write(b"a")
    transport.flush()
    transport.write(b"b")
    transport.write_now(b"c")

    assert inner.writes == [b"a", b"b", b"c"]


async def test_much_is_not_held_back() -> None:
    transport, inner = await gathered()
    transport.write(bytes(MOST_BYTES))
    transport.write(b"a")

    assert inner.writes == [bytes(MOST_BYTES) + b"a"]


async def test_closing_writes_what_was_held_back_and_cutting_does_not() -> None:
    for way, writes in (("close", [b"a"]), ("abort", [])):
        transport, inner = await gathered()
        transport.write(b"a")
        getattr(transport, way)()
        await asyncio.sleep(0)

        assert inner.writes == writes
        assert inner.ended
