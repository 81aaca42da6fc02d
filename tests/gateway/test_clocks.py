"""Clocks that jump, a day forth and back: what is stored is a hit or a miss, and nobody hears of an error."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.answers.base import Store
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.callers.caller import Caller
from gateway.callers.tokens import Checked
from gateway.controls import Controls
from tests.contracts.answers_contract import Clock, digest, entry_of
from tests.gateway.house import house

DAY_S = 86_400.0


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_clock_that_jumps_a_day_and_back_ends_entries_and_breaks_nothing(kind: str, tmp_path: Path) -> None:
    clock = Clock()
    file = SqliteAnswers(tmp_path / "answers.db", budget_bytes=1 << 20, now=clock)
    answers: Store = file if kind == "file" else MemoryAnswers(1 << 20, now=clock)
    await answers.open()
    lasting = entry_of("lasting")
    ending = replace(entry_of("ending"), created_s=clock(), expires_s=clock() + 3600)
    for entry in (lasting, ending):
        await answers.put(entry)

    clock.now_s += DAY_S
    assert await answers.get(digest("s"), digest("ending")) is None
    assert await answers.get(digest("s"), digest("lasting")) == lasting
    await answers.put(replace(entry_of("later"), created_s=clock(), expires_s=clock() + 3600))
    clock.now_s -= 2 * DAY_S
    for name in ("lasting", "later"):
        assert await answers.get(digest("s"), digest(name)) is not None
    again = replace(ending, created_s=clock(), expires_s=clock() + 3600)
    await answers.put(again)
    assert await answers.get(digest("s"), digest("ending")) == again
    await answers.close()


async def test_an_answer_from_the_future_is_of_no_known_age_and_none_at_all_is_told(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat("What is a clock?")
        (kept,) = list(gateway.answers._memory._kept.values())
        row = kept.unpacked()
        await gateway.answers.remove(row.scope, row.id)
        await gateway.answers.put(replace(row, created_s=time.time() + DAY_S, began=None))

        anyhow, _ = await gateway.chat("What is a clock?")
        young, _ = await gateway.chat("What is a clock?", controls=Controls(max_age_s=60.0))

    assert (anyhow.tier, anyhow.age_s) == ("exact", 0.0)
    assert young.tier == "full"


@pytest.mark.parametrize("jumps_s", [(DAY_S, 0.0), (-DAY_S, 0.0), (0.0, DAY_S), (0.0, -DAY_S), (DAY_S, -DAY_S)])
def test_a_token_that_was_checked_is_never_known_beyond_its_end(jumps_s: tuple[float, float]) -> None:
    checked, caller, ends_s = Checked(), Caller("t"), 1_000_600.0
    when_kept_s, when_asked_s = (1_000_000.0 + jump_s for jump_s in jumps_s)
    if when_kept_s < ends_s:  # else it was refused
        checked.keep("ey.token", caller, ends_s, when_kept_s)

    for later_s in (0.0, 59.0, 599.0, 600.0, DAY_S, 2 * DAY_S):
        known = checked.find("ey.token", when_asked_s + later_s)
        assert known is None or when_asked_s + later_s < ends_s
    assert checked.find("ey.token", ends_s) is None
