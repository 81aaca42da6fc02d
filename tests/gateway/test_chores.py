"""What is owed after an answer: bounded in number and in bytes, and done before a stop."""

import asyncio

from gateway.chores import Chores


async def held(gate: asyncio.Event) -> None:
    await gate.wait()


async def test_what_is_owed_is_bounded_in_bytes_and_frees_its_room_when_it_is_done() -> None:
    chores, gate = Chores(limit_bytes=100), asyncio.Event()

    assert chores.add(held(gate), 60)
    assert not chores.add(held(gate), 60)
    assert chores.add(held(gate), 40)
    gate.set()
    assert await chores.finish() == 0
    assert (chores.size_bytes, chores.dropped, len(chores)) == (0, 1, 0)


async def test_what_is_not_done_in_time_is_given_up_and_told() -> None:
    chores = Chores()
    chores.add(held(asyncio.Event()), 5)

    assert await chores.finish(0.01) == 1
    assert (len(chores), chores.size_bytes) == (0, 0)
