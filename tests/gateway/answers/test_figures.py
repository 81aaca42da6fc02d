"""What an operator sees of the store, and what the bench makes of its policies."""

from dataclasses import replace
from pathlib import Path

from bench.answers import replay
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.telemetry.samples import answer_samples
from tests.contracts.answers_contract import entry_of
from tests.gateway.answers.test_memory import SIZE


async def test_both_levels_are_counted(tmp_path: Path) -> None:
    store = SqliteAnswers(tmp_path / "answers.db", budget_bytes=100 * SIZE)
    answers = TieredAnswers(MemoryAnswers(3 * SIZE), store)
    await answers.open()
    for name in "abcde":
        await answers.put(entry_of(name))
    told = {(one.name, dict(one.labels)["level"]): one.value for one in answer_samples(await answers.figures())}
    await answers.close()

    assert told["twicetold_store_bytes", "memory"] == 3 * SIZE
    assert told["twicetold_store_bytes", "disk"] == 5 * SIZE
    assert told["twicetold_store_evicted", "memory"] == 2
    assert told["twicetold_store_evicted", "disk"] == 0


def test_the_bench_counts_hits_of_what_may_come_back_and_the_seconds_they_save() -> None:
    kept = {name: replace(entry_of(name), scope=bytes(32), elapsed_s=cost) for name, cost in (("a", 1.0), ("b", 3.0))}
    scan = {"once": replace(entry_of("once"), scope=bytes(32))}
    found = replay(["a", "b", "once", "a", "b"], kept, scan, 10 * SIZE, "lru")

    assert (found.hits, found.saved) == (0.5, 0.5)
    assert replay(["a", "b", "once", "a"], kept, scan, 10, "lru").hits == 0.0
