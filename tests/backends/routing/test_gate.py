"""So many at once, the others in a queue that is fair, bounded, and left at once by who leaves."""

import asyncio

import pytest

from backends.errors import BackendBusy, BackendNotReady
from backends.routing.gate import Gate, GateRule


class Doings:
    """Requests through a gate: who is inside, in the order they came in; `finish` lets one out."""

    def __init__(self, at_once: int = 1, queue: int = 8, queue_s: float = 60.0) -> None:
        self.gate = Gate("gpu", GateRule(at_once, queue, queue_s))
        self.entered: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """`a1` is the first request of the tenant `a`."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._go(name))
        await self.settle()

    async def finish(self, name: str) -> None:
        self._ends[name].set()
        await self.settle()

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _go(self, name: str) -> None:
        async with self.gate.place(name[0]):
            self.entered.append(name)
            await self._ends[name].wait()


async def test_tenants_take_turns_and_each_ones_requests_keep_their_order() -> None:
    doings = Doings()
    await doings.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    for _ in range(7):
        await doings.finish(doings.entered[-1])

    assert doings.entered == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
    assert (doings.gate.inside, doings.gate.waiting) == (0, 0)


async def test_a_full_queue_sends_away_and_says_when_to_come_back() -> None:
    doings = Doings(queue=1)
    await doings.come("a1", "a2", "b1")

    with pytest.raises(BackendBusy) as caught:
        await doings.tasks["b1"]
    assert (doings.gate.is_full, doings.gate.refused) == (True, 1)
    assert caught.value.status == 503
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s >= 1
    await doings.leave("a1")
    await doings.leave("a2")


async def test_who_waited_too_long_is_sent_away_and_holds_no_place() -> None:
    doings = Doings(queue_s=0.01)
    await doings.come("a1", "a2")

    with pytest.raises(BackendBusy, match=r"0\.01 s"):
        await doings.tasks["a2"]
    assert (doings.gate.waiting, doings.gate.timed_out) == (0, 1)
    await doings.finish("a1")
    assert doings.gate.inside == 0


async def test_who_leaves_the_queue_gives_his_place_back_at_once() -> None:
    doings = Doings(queue=1)
    await doings.come("a1", "a2")
    await doings.leave("a2")
    await doings.come("b1")
    await doings.finish("a1")

    assert doings.entered == ["a1", "b1"]
    await doings.finish("b1")
    assert (doings.gate.inside, doings.gate.waiting) == (0, 0)


async def test_who_leaves_in_the_moment_he_was_let_in_lets_the_next_in() -> None:
    doings = Doings()
    await doings.come("a1", "a2", "a3")
    doings.tasks["a1"].cancel()
    await asyncio.sleep(0)  # a2 was given the place, and has not run yet
    doings.tasks["a2"].cancel()
    await doings.settle()

    assert doings.entered == ["a1", "a3"]
    await doings.finish("a3")
    assert doings.gate.inside == 0


async def test_those_who_wait_before_a_closing_door_are_sent_elsewhere() -> None:
    doings = Doings()
    await doings.come("a1", "a2")
    doings.gate.turn_away()

    with pytest.raises(BackendNotReady):
        await doings.tasks["a2"]
    await doings.finish("a1")
    assert (doings.gate.inside, doings.gate.waiting) == (0, 0)


async def test_without_a_limit_nobody_waits() -> None:
    doings = Doings(at_once=0)
    await doings.come(*(f"a{number}" for number in range(9)))

    assert len(doings.entered) == 9
    for name in tuple(doings.entered):
        await doings.finish(name)
    assert doings.gate.inside == 0
