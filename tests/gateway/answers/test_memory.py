"""Memory: the budget holds, the least recently used goes first, and both maps always agree."""

import random
from collections import OrderedDict
from dataclasses import replace

import pytest

from gateway.answers.base import CacheError, Entry, unembedded_of
from gateway.answers.codec import encode, size_bytes
from gateway.answers.memory import MemoryAnswers
from tests.contracts.answers_contract import Clock, digest, entry_of, full_entry

SIZE = size_bytes(entry_of(), encode(entry_of().completion))


def is_kept(memory: MemoryAnswers, name: str) -> bool:
    return memory.get_now(digest("s"), digest(name)) is not None


def test_the_least_recently_used_goes_first() -> None:
    memory = MemoryAnswers(3 * SIZE)
    for name in "abc":
        memory.put_now(entry_of(name))
    memory.get_now(digest("s"), digest("a"))
    memory.by_id_now(digest("s"), "e_b")
    memory.put_now(entry_of("d"))

    assert [is_kept(memory, name) for name in "abcd"] == [True, True, False, True]
    assert memory.stats.evicted == 1


def test_an_entry_larger_than_the_budget_is_not_kept_and_drops_nobody_else() -> None:
    memory = MemoryAnswers(2 * SIZE)
    memory.put_now(entry_of("a"))
    memory.put_now(entry_of("b"))

    memory.put_now(entry_of("b", text="x" * 2 * SIZE))

    assert is_kept(memory, "a")
    assert not is_kept(memory, "b")  # the old answer is no longer true
    assert memory.stats.too_large == 1


async def test_a_put_that_cannot_be_kept_is_an_error() -> None:
    with pytest.raises(CacheError, match="larger than the memory budget"):
        await MemoryAnswers(10).put(entry_of())


def test_an_ended_entry_frees_its_bytes_when_it_is_met() -> None:
    clock = Clock()
    memory = MemoryAnswers(10 * SIZE, keep_stale_s=5, now=clock)
    memory.put_now(replace(full_entry(), expires_s=clock() + 10))
    clock.now_s += 15

    assert not is_kept(memory, "a")
    assert (memory.bytes_kept, len(memory), memory.stats.expired) == (0, 0, 1)


@pytest.mark.parametrize("seed", range(10))
def test_random_operations_agree_with_a_plain_lru(seed: int) -> None:
    rng, clock = random.Random(seed), Clock()
    budget = rng.randrange(2, 8) * SIZE
    memory = MemoryAnswers(budget, keep_stale_s=0, now=clock)
    truth: OrderedDict[tuple[bytes, bytes], Entry] = OrderedDict()
    for _ in range(1500):
        scope, name = rng.choice("xy"), rng.choice("abcdefgh")
        key = (digest(scope), digest(name))
        match rng.randrange(7):
            case 0 | 1:
                entry = replace(
                    entry_of(name, scope=scope, text="t" * rng.randrange(3 * SIZE)),
                    id=f"e_{rng.choice('abcdefgh')}",
                    expires_s=clock() + rng.randrange(1, 40),
                )
                put(truth, entry, budget)
                memory.put_now(entry)
            case 2:
                assert memory.get_now(*key) == get(truth, key, clock())
            case 3:
                named = named_in(truth, digest(scope), f"e_{name}")
                assert memory.by_id_now(digest(scope), f"e_{name}") == (named and get(truth, named, clock()))
            case 4:
                named = named_in(truth, digest(scope), f"e_{name}")
                assert memory.remove_now(digest(scope), f"e_{name}") == (named is not None)
                if named is not None:
                    del truth[named]
            case 5:
                named = named_in(truth, digest(scope), f"e_{name}")
                row, vector = unembedded_of(entry_of(name, scope=scope)), bytes(rng.randrange(2 * SIZE))
                assert row is not None
                memory.set_vector_now(row, "mini@1", vector)
                if named is not None and truth[named].question == row.question:
                    truth[named] = replace(truth[named], embedder="mini@1", vector=vector)
                    shrink(truth, budget)
            case _:
                clock.now_s += rng.randrange(4)
        assert memory.bytes_kept == sum(map(size_of, truth.values())) <= budget
        assert len(memory) == len(truth)
        assert [entry for entry, _ in memory._kept.values()] == list(truth.values())
        assert memory._ids == {(e.scope, e.id): e.exact for e in truth.values()}


def size_of(entry: Entry) -> int:
    return size_bytes(entry, encode(entry.completion))


def get(truth: OrderedDict[tuple[bytes, bytes], Entry], key: tuple[bytes, bytes], now_s: float) -> Entry | None:
    if key in truth and not truth[key].is_fresh(now_s):
        del truth[key]
    if key in truth:
        truth.move_to_end(key)
    return truth.get(key)


def named_in(truth: OrderedDict[tuple[bytes, bytes], Entry], scope: bytes, entry_id: str) -> tuple[bytes, bytes] | None:
    return next((key for key, e in truth.items() if e.scope == scope and e.id == entry_id), None)


def put(truth: OrderedDict[tuple[bytes, bytes], Entry], entry: Entry, budget: int) -> None:
    truth.pop((entry.scope, entry.exact), None)
    if (named := named_in(truth, entry.scope, entry.id)) is not None:
        del truth[named]
    if size_of(entry) > budget:
        return
    shrink(truth, budget - size_of(entry))
    truth[entry.scope, entry.exact] = entry


def shrink(truth: OrderedDict[tuple[bytes, bytes], Entry], budget: int) -> None:
    while sum(map(size_of, truth.values())) > budget:
        truth.popitem(last=False)
