"""Two levels: the near one needs no await and outlives the trouble of the far one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.answers.base import CacheError, Entry, Verdict
from gateway.answers.memory import MemoryAnswers
from gateway.answers.selection import Selection
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


class SlowRemovals(MemoryAnswers):
    """A store that removes when it is allowed to."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.may_remove = asyncio.Event()

    async def remove(self, scope: bytes, entry_id: str) -> bool:
        await self.may_remove.wait()
        return self.remove_now(scope, entry_id)


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


async def test_what_was_removed_before_it_was_settled_stays_removed(store: SqliteAnswers) -> None:
    answers = TieredAnswers(memory(), store)
    for remove in (answers.remove(digest("s"), "e_a"), answers.remove_all(Selection(model="m"))):
        entry = entry_of()
        answers.put_now(entry)
        await remove

        assert not await answers.settle(entry)
        assert await answers.get(*KEY) is None


async def test_what_was_answered_anew_before_it_was_settled_is_not_brought_back(store: SqliteAnswers) -> None:
    answers, old, new = TieredAnswers(memory(), store), entry_of(text="old"), entry_of(text="new", created_s=2_000_000)
    answers.put_now(old)
    answers.put_now(new)

    assert await answers.settle(new)
    assert not await answers.settle(old)
    assert await store.get(*KEY) == new


async def test_what_is_abandoned_is_not_written_and_stays_at_hand(store: SqliteAnswers) -> None:
    answers, entry = TieredAnswers(memory(), store), entry_of()
    answers.put_now(entry)
    answers.abandon(entry)

    assert not await answers.settle(entry)
    assert answers.get_now(*KEY) == entry
    assert await store.get(*KEY) is None


async def test_what_waits_to_be_written_can_be_judged(store: SqliteAnswers) -> None:
    answers, entry = TieredAnswers(memory(), store), replace(entry_of(), tenant="mine")
    answers.put_now(entry)

    assert await answers.owned("mine", entry.id) == entry
    tally = await answers.judge(entry, Verdict("one", is_good=False, comment="", at_s=1.0))
    assert tally is not None
    assert tally.bad == 1
    near = answers.get_now(*KEY)
    assert near is not None
    assert near.bad == 1


async def test_a_read_that_is_faster_than_a_removal_does_not_undo_it() -> None:
    far = SlowRemovals()
    await far.put(entry_of())
    answers = TieredAnswers(memory(), far)
    removal = asyncio.create_task(answers.remove(digest("s"), "e_a"))
    await asyncio.sleep(0)
    assert await answers.get(*KEY) is not None  # it is not removed yet
    far.may_remove.set()
    await removal

    assert answers.get_now(*KEY) is None


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
