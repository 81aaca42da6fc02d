"""Turns are kept, passed on, and lost by nobody who gives up."""

import asyncio

from gateway.turns import Turns


async def test_no_more_than_allowed_are_in_at_once_and_they_come_in_order() -> None:
    turns, inside, order, most = Turns(2), 0, list[int](), 0

    async def work(number: int) -> None:
        nonlocal inside, most
        async with turns:
            inside, most = inside + 1, max(most, inside + 1)
            order.append(number)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*map(work, range(9)))
    assert (most, order) == (2, list(range(9)))


async def test_who_gives_up_leaves_the_turn_to_the_next() -> None:
    turns = Turns(1)
    await turns.__aenter__()
    waiting = [asyncio.create_task(turns.__aenter__()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # while it waits
    await turns.__aexit__()
    waiting[1].cancel()  # it had been let in, and did not know yet
    assert [type(found) for found in await asyncio.gather(*waiting[:2], return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2
    await waiting[2]
    await turns.__aexit__()
    await asyncio.wait_for(turns.__aenter__(), 1)
