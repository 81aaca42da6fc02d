"""Work for a caller ends with the caller, and with the server."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from starlette.types import Message

from gateway.body import ClientGone, Curfew, while_connected
from gateway.errors import Stopping


class Caller:
    """Somebody who may leave."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.asked = 0

    async def receive(self) -> Message:
        self.asked += 1
        await self.gone.wait()
        return {"type": "http.disconnect"}


class Work:
    """Something that takes long, and lets go of what it has."""

    def __init__(self, *, takes_s: float = 60.0) -> None:
        self.takes_s = takes_s
        self.began = asyncio.Event()
        self.has_let_go = False

    async def __call__(self) -> str:
        self.began.set()
        try:
            await asyncio.sleep(self.takes_s)
            return "done"
        finally:
            await asyncio.sleep(0.001)
            self.has_let_go = True


async def after(began: asyncio.Event, do: Callable[[], Any]) -> None:
    await began.wait()
    await asyncio.sleep(0)
    do()


async def ended_by(work: Work, caller: Caller, curfew: Curfew, do: Callable[[], Any]) -> BaseException | str:
    """What comes of work when something happens meanwhile."""
    working: Awaitable[str] = while_connected(caller.receive, curfew, work())
    results = await asyncio.gather(working, after(work.began, do), return_exceptions=True)
    return results[0]


async def test_work_of_a_caller_who_leaves_ends_when_it_has_let_go() -> None:
    work, caller = Work(), Caller()
    ended = await ended_by(work, caller, Curfew(), caller.gone.set)

    assert isinstance(ended, ClientGone)
    assert work.has_let_go


async def test_work_ends_at_the_curfew_and_none_begins_after_it() -> None:
    work, curfew = Work(), Curfew()
    assert isinstance(await ended_by(work, Caller(), curfew, curfew.come), Stopping)
    assert work.has_let_go
    late = Work()
    with pytest.raises(Stopping):
        await while_connected(Caller().receive, curfew, late())
    assert not late.began.is_set()


async def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    work, caller, curfew = Work(), Caller(), Curfew()
    task = asyncio.create_task(while_connected(caller.receive, curfew, work()))
    await work.began.wait()
    task.cancel()
    curfew.come()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.has_let_go


async def test_a_caller_who_leaves_as_the_work_is_done_cancels_nothing_after_it() -> None:
    caller, work = Caller(), Work(takes_s=0.0)
    for delay in range(4):
        caller.gone.clear()
        asyncio.get_running_loop().call_later(delay / 2000, caller.gone.set)
        with suppress(ClientGone):  # which of the two is first is chance
            assert await while_connected(caller.receive, Curfew(), work()) == "done"
        await asyncio.sleep(0.002)
    task = asyncio.current_task()

    assert task is not None
    assert task.cancelling() == 0


async def test_nobody_asks_after_the_caller_of_work_that_never_waits() -> None:
    caller = Caller()

    async def at_once() -> int:
        return 1

    assert await while_connected(caller.receive, Curfew(), at_once()) == 1
    await asyncio.sleep(0)
    assert caller.asked == 0


async def test_a_timeout_inside_the_work_is_its_own() -> None:
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        except TimeoutError:
            return "gave up"
        return "never"

    assert await while_connected(Caller().receive, Curfew(), impatient()) == "gave up"


async def test_a_caller_who_leaves_is_freed_without_a_collection() -> None:
    class Held:
        """What the work has."""

    async def serve(caller: Caller, began: asyncio.Event, held: Held) -> None:
        async def work() -> Held:
            began.set()
            await asyncio.sleep(60)
            return held

        with suppress(ClientGone):
            await while_connected(caller.receive, Curfew(), work())

    gc.collect()
    gc.disable()
    try:
        caller, began, held = Caller(), asyncio.Event(), Held()
        seen = weakref.ref(held)
        serving = asyncio.create_task(serve(caller, began, held))
        del held
        await began.wait()
        caller.gone.set()
        await serving
        del serving
        await asyncio.sleep(0.01)
        assert seen() is None
    finally:
        gc.enable()
