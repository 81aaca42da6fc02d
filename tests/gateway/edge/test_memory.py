"""Short of memory: caches let go first, then nothing is generated, then nothing comes in."""

import asyncio
from pathlib import Path

import pytest

from backends.fake import ScriptedBackend
from gateway.edge.memory import MemoryWatch, Use, of_container, of_process
from gateway.errors import Overloaded
from tests.gateway.house import house


def test_caches_let_go_before_anything_is_refused_and_not_every_second() -> None:
    uses, shed = [Use(50, 100), Use(85, 100), Use(85, 100), Use(85, 100)], list[float]()
    watch = MemoryWatch(lambda: uses.pop(0), sheds=[lambda: shed.append(1.0)])
    for now_s in (100.0, 101.0, 102.0, 112.0):
        watch.look(now_s)
        watch.check_generation()

    assert (len(shed), watch.times_shed) == (2, 2)


def test_near_the_limit_nothing_is_generated_and_at_it_nothing_comes_in() -> None:
    uses = [Use(91, 100), Use(96, 100), Use(50, 100)]
    watch = MemoryWatch(lambda: uses.pop(0))
    is_shut = []
    for now_s in (100.0, 101.0):
        watch.look(now_s)
        is_shut.append(watch.is_shut)
        with pytest.raises(Overloaded):
            watch.check_generation()
    watch.look(102.0)
    watch.check_generation()

    assert [*is_shut, watch.is_shut] == [False, True, False]


def test_without_a_limit_there_is_no_watch() -> None:
    assert MemoryWatch(lambda: None).use.share == 0.0
    assert of_container(Path("/nowhere")) is None
    own = of_process(2**40)
    assert own is not None
    assert 0 < own.used < own.limit


async def test_a_measurement_that_fails_once_does_not_end_the_watch() -> None:
    uses = [Use(50, 100), Use(50, 100), None, Use(96, 100)]
    shed = asyncio.Event()
    watch = MemoryWatch(lambda: uses.pop(0) if len(uses) > 1 else uses[0], sheds=[shed.set])
    watching = asyncio.create_task(watch.run(every_s=0.001))
    await asyncio.wait_for(shed.wait(), 5)
    watching.cancel()

    assert watch.is_shut
    await MemoryWatch(lambda: None).run()  # nothing to watch: it ends


@pytest.mark.parametrize("version", [1, 2])
def test_what_only_caches_files_is_not_counted(tmp_path: Path, version: int) -> None:
    folder = tmp_path if version == 2 else tmp_path / "memory"
    folder.mkdir(exist_ok=True)
    limit, used = (
        ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    prefix = "" if version == 2 else "total_"
    (folder / limit).write_text("1000\n")
    (folder / used).write_text("700\n")
    (folder / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file 100\n{prefix}active_file 50\n")

    assert of_container(tmp_path) == Use(550, 1000)


async def test_what_is_stored_is_answered_when_memory_is_short(tmp_path: Path) -> None:
    watch = MemoryWatch()
    async with house(tmp_path, ScriptedBackend(), check_memory=watch.check_generation) as home:
        first, _ = await home.chat("What is a block table?")
        watch.use = Use(91, 100)
        again, _ = await home.chat("What is a block table?")
        with pytest.raises(Overloaded):
            await home.chat("Something that nobody asked before, about rivers")

    assert (first.tier, again.tier) == ("full", "exact")


async def test_memory_lets_go_of_half_and_the_store_has_all(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        questions = [f"What is number {number}?" for number in range(20)]
        for question in questions:
            await home.chat(question)
        kept = (await home.answers.figures())[0].entries
        home.answers.shed()
        left = (await home.answers.figures())[0].entries
        again = [(await home.chat(question))[0].tier for question in questions]

    assert kept == 20
    assert 5 <= left <= 11
    assert set(again) == {"exact"}
