"""Whatever fails, waits, leaves or is drained in whatever order: everybody is answered or told, and nothing is held."""

import asyncio
from contextlib import suppress
from random import Random

import pytest

from backends.chat import ChatRequest, Delta
from backends.errors import BackendBusy, BackendError, BackendGarbage, BackendTimeout, BackendUnavailable
from backends.fake import Script, Step, say
from backends.routing.aliases import Alias
from backends.routing.breaker import BreakerRule
from tests.backends.routing.fleet import Fleet, fleet

ERRORS = (
    BackendUnavailable("gone"),
    BackendTimeout("slow"),
    BackendBusy("full", retry_after_s=0.5),
    BackendGarbage("?"),
)


def moody(random: Random) -> Script:
    """Answers, fails before or in the middle of an answer, takes its time."""

    def script(_request: ChatRequest) -> list[Step]:
        pauses: list[Step] = [0.0] * random.randrange(4)
        error = random.choice(ERRORS)
        piece = Delta(fields={"content": "a"})
        fine: list[Step] = [*say("fine")]
        ways: list[list[Step]] = [fine, fine, [error], [piece, error], [piece, *pauses, piece]]
        return pauses + random.choice(ways)

    return script


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_held_whatever_happens(seed: int) -> None:
    random = Random(seed)
    house = fleet(
        {name: moody(random) for name in "abcd"},
        models={"d": "spare"},
        at_once=2,
        queue=3,
        breaker=BreakerRule(failures=3, open_s=1),
        aliases=[Alias("m", fallback=("spare",))],
        policy=random.choice(["affinity", "least_load", "round_robin", "random"]),
        retries=1,
    )
    tasks: list[asyncio.Task[bool]] = []
    for number in range(150):
        tasks.append(asyncio.create_task(answered(house, str(number), random.choice("xyz"))))
        act = random.random()
        if act < 0.2:
            random.choice(tasks).cancel()
        elif act < 0.3:
            member = house.member(random.choice("abcd"))
            member.resume() if member.is_draining else member.drain()
        elif act < 0.6:
            house.clock.now_s += random.random()
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(result, bool | asyncio.CancelledError) for result in results)
    assert sum(result is True for result in results) > 20
    for member in house.router.members:
        assert (member.gate.inside, member.gate.waiting) == (0, 0)
        assert house.backends[member.name].active == 0
        house.clock.now_s += 100
        for owner in "xyz":
            assert member.breaker.allows(house.clock.now_s, owner), "a trial was never given back"


async def answered(house: Fleet, text: str, owner: str) -> bool:
    """True: answered. False: told why not."""
    with suppress(BackendError):
        await house.ask(text, owner=owner)
        return True
    return False
