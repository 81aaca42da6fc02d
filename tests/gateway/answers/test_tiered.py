"""Two levels: the near one needs no await and outlives the trouble of the far one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.answers.base import CacheError, Entry
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from tests.contracts.answers_contract import completion_of, digest, entry_of

KEY = (digest("s"), digest("a"))


class SlowAnswers(MemoryAnswers):
    """A store whose reads wait, holding what they found."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.has_read = asyncio.Event()
        self.may_return = asyncio.Event()

    async def get(self, scope: bytes, exact: bytes) -> Entry | None:
        found = self.get_now(scope, exact)
        self.has_read.set()
        await self.may_return.wait()
        return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteAnswers]:
    store = SqliteAnswers(tmp_path / "answers.db", budget_bytes=None)
    await store.open()
    yield store
    await store.close()


def memory() -> MemoryAnswers:
    return MemoryAnswers(1_000_000)


async def test_what_the_store_gave_is_near_afterwards(store: SqliteAnswers) -> None:
    await store.put(entry_of())
    answers = TieredAnswers(memory(), store)

    assert answers.get_now(*KEY) is None
    assert await answers.get(*KEY) == entry_of()
    assert answers.get_now(*KEY) == entry_of()


async def test_a_name_the_store_gave_is_near_afterwards(store: SqliteAnswers) -> None:
    await store.put(entry_of())
    answers = TieredAnswers(memory(), store)

    assert await answers.by_id(digest("s"), "e_a") == entry_of()
    assert answers.get_now(*KEY) == entry_of()


async def test_put_now_is_seen_at_once_and_put_makes_it_last(store: SqliteAnswers) -> None:
    answers = TieredAnswers(memory(), store)
    answers.put_now(entry_of())

    assert answers.get_now(*KEY) == entry_of()
    assert await store.get(*KEY) is None
    await answers.put(entry_of())
    assert await store.get(*KEY) == entry_of()


async def test_a_failing_store_is_heard_of_and_memory_goes_on(tmp_path: Path) -> None:
    answers = TieredAnswers(memory(), SqliteAnswers(tmp_path / "never-opened.db", budget_bytes=None))

    with pytest.raises(CacheError):
        await answers.put(entry_of())
    assert await answers.get(*KEY) == entry_of()
    assert await answers.by_id(digest("s"), "e_a") == entry_of()
    with pytest.raises(CacheError):
        await answers.get(digest("s"), digest("b"))


@pytest.mark.parametrize("write", ["remove", "put", "put of what memory cannot hold"])
async def test_a_slow_read_does_not_undo_a_write(write: str) -> None:
    far = SlowAnswers()
    await far.put(entry_of(text="old"))
    answers = TieredAnswers(MemoryAnswers(100_000), far)
    read = asyncio.create_task(answers.get(*KEY))
    await far.has_read.wait()
    if write == "remove":
        await answers.remove(digest("s"), "e_a")
    else:
        await answers.put(entry_of(text="new" if write == "put" else "n" * 200_000))
    far.may_return.set()
    await read

    near = answers.get_now(*KEY)
    assert near is None or near.completion == completion_of("new")
