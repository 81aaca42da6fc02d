"""Two gateways on one data directory: what one removed, the other never serves, from no tier."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.answers.base import Verdict
from gateway.answers.generation import CHECK_S, Generation
from gateway.answers.memory import MemoryAnswers
from gateway.answers.selection import Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from tests.contracts.answers_contract import Clock, digest, entry_of
from tests.gateway.house import House, house

KEY = (digest("s"), digest("a"))
QUESTION = "What is the capital city of France?"
REWORDED, POLITE = "What's the capital city of France", "Please, what is the capital city of France?"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[TieredAnswers]:
    answers = TieredAnswers(MemoryAnswers(1_000_000), SqliteAnswers(path, budget_bytes=None))
    await answers.open()
    try:
        yield answers
    finally:
        await answers.close()


async def twice_bad(answers: TieredAnswers) -> None:
    for source in ("r1", "r2"):
        await answers.judge(entry_of(), Verdict(source, False, "", 1.0))


REMOVALS: dict[str, Callable[[TieredAnswers], Awaitable[object]]] = {
    "by id": lambda answers: answers.remove(digest("s"), "e_a"),
    "by selection": lambda answers: answers.remove_all(Selection(id="e_a")),
    "by users": twice_bad,
}


@pytest.mark.parametrize("name", REMOVALS)
async def test_memory_forgets_what_another_store_on_the_file_removed(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / "a.db") as one, opened(tmp_path / "a.db") as other:
        await one.put(entry_of())
        await one.put(entry_of("b"))
        assert await other.get(*KEY) is not None
        assert await one.get(digest("s"), digest("b")) is not None
        assert other.get_now(*KEY) is not None
        await REMOVALS[name](one)

        assert other.get_now(*KEY) is None
        assert await other.get(*KEY) is None
        assert await other.by_id(KEY[0], "e_a") is None
        assert one.get_now(digest("s"), digest("b")) is not None  # who removed something keeps the rest


async def test_memory_forgets_what_another_process_removed(tmp_path: Path) -> None:
    remove = (
        "import asyncio, sys; from pathlib import Path; from gateway.answers.sqlite import SqliteAnswers\n"
        "async def main(answers):\n"
        "    await answers.open()\n"
        "    assert await answers.remove(bytes.fromhex(sys.argv[2]), 'e_a')\n"
        "    await answers.close()\n"
        "asyncio.run(main(SqliteAnswers(Path(sys.argv[1]), budget_bytes=None)))"
    )
    async with opened(tmp_path / "a.db") as answers:
        await answers.put(entry_of())
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", remove, str(tmp_path / "a.db"), KEY[0].hex(), cwd=Path.cwd()
        )
        assert await other.wait() == 0

        assert answers.get_now(*KEY) is None
        assert await answers.get(*KEY) is None


async def asked(gateway: House, question: str) -> str:
    tier: str = (await gateway.chat(question))[0].tier
    await gateway.pipeline.close()
    return tier


async def test_no_tier_of_another_gateway_serves_what_one_removed(tmp_path: Path) -> None:
    async with house(tmp_path, reads_wordings=True) as one:
        await asked(one, QUESTION)
        async with house(tmp_path, reads_wordings=True) as other:
            assert [await asked(other, text) for text in (QUESTION, REWORDED, POLITE)] == [
                "exact",
                "semantic",
                "semantic",
            ]
            await one.answers.remove_all(Selection())

            assert other.semantic.num_vectors == 1  # its index does not know yet
            assert await asked(other, REWORDED) == "full"
            await one.answers.remove_all(Selection())
            assert await asked(other, POLITE) == "full"
            await one.answers.remove_all(Selection())
            assert await asked(other, QUESTION) == "full"


def test_whoever_removes_at_the_same_time_is_heard_of_by_the_other(tmp_path: Path) -> None:
    one, other = Generation(tmp_path / "g"), Generation(tmp_path / "g")
    for generation in (one, other):
        generation.open()
    assert one.has_risen()  # the other one started
    one.rise()
    other.rise()

    assert [one.has_risen(), other.has_risen()] == [True, True]
    assert [one.has_risen(), other.has_risen()] == [False, False]
    for generation in (one, other):
        generation.close()
        generation.close()


def test_a_number_that_is_cut_off_or_set_back_by_a_backup_means_removed_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "g"
    one, other = Generation(path), Generation(path)
    for generation in (one, other):
        generation.open()
    backup = path.read_bytes()
    assert [one.has_risen(), other.has_risen()] == [True, False]
    other.rise()
    assert one.has_risen()
    os.truncate(path, 0)  # in this moment of a copy over it a mapping would end the process

    assert one.has_risen()
    path.write_bytes(backup)  # the very file, as it was
    assert [one.has_risen(), other.has_risen()] == [True, True]
    other.rise()
    assert [one.has_risen(), one.has_risen(), other.has_risen()] == [True, False, False]
    for generation in (one, other):
        generation.close()


def test_a_number_whose_file_was_deleted_is_looked_for_anew(tmp_path: Path) -> None:
    path, clock = tmp_path / "g", Clock()
    one, other = Generation(path, clock), Generation(path, clock)
    one.open()
    path.unlink()
    other.open()  # another process starts, and makes a new one
    other.rise()
    clock.now_s += CHECK_S
    assert one.has_risen()
    assert not one.has_risen()
    other.rise()
    assert one.has_risen()

    path.unlink()
    one.rise()  # no later than this
    clock.now_s += CHECK_S
    assert other.has_risen()
    tmp_path.joinpath("g").unlink()
    tmp_path.joinpath("g").mkdir()  # nothing can be read here
    clock.now_s += CHECK_S
    one.rise()
    assert [one.has_risen(), one.has_risen()] == [True, True]
    for generation in (one, other):
        generation.close()
