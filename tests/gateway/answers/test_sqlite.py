"""One file: it outlives the process, stays inside its budget, and wastes no transaction."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.answers.base import CacheError, Entry, Unembedded, Verdict, unembedded_of
from gateway.answers.codec import encode, size_bytes
from gateway.answers.selection import Page, Selection
from gateway.answers.sqlite import SqliteAnswers
from tests.contracts.answers_contract import Clock, digest, embedded, entry_of, full_entry

SIZE = size_bytes(entry_of("000"), encode(entry_of("000").completion))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "answers.db"


@asynccontextmanager
async def opened(path: Path, *, budget_bytes: int | None = None, **options: Any) -> AsyncIterator[SqliteAnswers]:
    answers = SqliteAnswers(path, budget_bytes=budget_bytes, **options)
    await answers.open()
    try:
        yield answers
    finally:
        await answers.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def make_readable_by_all(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    path.chmod(0o644)


async def is_kept(answers: SqliteAnswers, name: str) -> bool:
    return await answers.get(digest("s"), digest(name)) is not None


def query(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()


def tenant_bytes(path: Path, tenant: str) -> int:
    return int(query(path, f"SELECT size_bytes FROM tenants WHERE tenant = '{tenant}'")[0])  # noqa: S608


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    async with opened(path, now=Clock()) as answers:
        await answers.put(full_entry())
        await answers.put(entry_of("b"))

    async with opened(path, now=Clock()) as answers:
        assert await answers.get(digest("s"), digest("a")) == full_entry()
        assert await answers.by_id(digest("s"), "e_b") == entry_of("b")
        assert [row.id for row in await embedded(answers, "mini@1")] == ["e_a"]
        assert await answers.size() == 2


async def test_one_object_can_be_opened_again(path: Path) -> None:
    answers = SqliteAnswers(path, budget_bytes=None)
    for name in "abc":
        await answers.open()
        await answers.put(entry_of(name))
        await answers.close()
        await answers.close()

    await answers.open()
    assert await answers.size() == 3
    await answers.close()


async def test_only_the_owner_can_read_the_files(path: Path) -> None:
    async with opened(path) as answers:
        await answers.put(entry_of())
        modes = {file.name: mode(file) for file in path.parent.iterdir()}

    ends = ("", "-wal", "-shm", "-generation", "-marked")
    assert modes == {f"answers.db{end}": 0o600 for end in ends}
    assert mode(path.parent) == 0o700


async def test_an_existing_file_is_made_private(path: Path) -> None:
    make_readable_by_all(path)

    async with opened(path):
        assert mode(path) == 0o600


async def test_puts_that_wait_together_share_a_transaction(path: Path) -> None:
    async with opened(path) as answers:
        await asyncio.gather(*(answers.put(entry_of(f"{number}")) for number in range(256)))

        assert answers.stats.puts == 256
        assert answers.stats.transactions <= 64


async def test_a_closed_store_says_so(path: Path) -> None:
    answers = SqliteAnswers(path, budget_bytes=None)
    with pytest.raises(CacheError, match="not open"):
        await answers.get(digest("s"), digest("a"))
    with pytest.raises(CacheError, match="not open"):
        await answers.put(entry_of())
    assert answers.stats.failures == 2


async def test_a_full_queue_refuses_and_then_goes_on(path: Path) -> None:
    async with opened(path, max_waiting=4) as answers:
        puts = [answers.put(entry_of(f"{number}")) for number in range(20)]
        results = await asyncio.gather(*puts, return_exceptions=True)

        refused = [result for result in results if isinstance(result, CacheError)]
        assert len(refused) == 16
        assert await answers.size() == 4
        await answers.put(entry_of("later"))


# -- budget --------------------------------------------------------------------------------------------------------


async def test_the_budget_is_never_passed_after_a_put(path: Path) -> None:
    rng = random.Random(3)
    async with opened(path, budget_bytes=40 * SIZE) as answers:
        for number in range(300):
            await answers.put(entry_of(f"{number:03}", text="t" * rng.randrange(2 * SIZE)))
            assert await answers.size_bytes() <= 40 * SIZE

        assert answers.stats.evicted > 100


async def test_an_entry_larger_than_the_budget_is_refused(path: Path) -> None:
    async with opened(path, budget_bytes=2 * SIZE) as answers:
        with pytest.raises(CacheError, match="the whole budget"):
            await answers.put(entry_of(text="x" * 2 * SIZE))


async def test_entries_that_are_asked_for_stay(path: Path) -> None:
    asked = [f"{number:03}" for number in range(0, 100, 5)]
    async with opened(path, budget_bytes=100 * SIZE) as answers:
        for number in range(100):
            await answers.put(entry_of(f"{number:03}"))
        for name in asked:
            await answers.count_hit(f"e_{name}")
    async with opened(path, budget_bytes=100 * SIZE) as answers:  # hits were written when it closed
        await answers.put(entry_of("100"))

        assert answers.stats.evicted > 0
        assert all([await is_kept(answers, name) for name in asked])


async def test_dear_entries_outlive_cheap_ones(path: Path) -> None:
    async with opened(path, budget_bytes=100 * SIZE) as answers:
        for number in range(101):
            await answers.put(replace(entry_of(f"{number:03}"), elapsed_s=30.0 if number < 20 else 0.5))

        assert all([await is_kept(answers, f"{number:03}") for number in range(20)])


async def test_what_is_never_asked_for_goes_in_the_end_however_dear(path: Path) -> None:
    async with opened(path, budget_bytes=100 * SIZE) as answers:
        await answers.put(replace(entry_of("dear"), elapsed_s=10.0))
        for number in range(3000):
            await answers.put(entry_of(f"{number % 1000:03}", scope=f"{number}"))

        assert not await is_kept(answers, "dear")


@pytest.mark.parametrize(("policy", "stays"), [("lru", "used"), ("lfu", "used"), ("cost", "dear"), ("fifo", "new")])
async def test_each_policy_keeps_what_it_values(path: Path, policy: str, stays: str) -> None:
    clock = Clock()
    async with opened(path, budget_bytes=100 * SIZE, policy=policy, now=clock) as answers:
        for number in range(99):
            clock.now_s += 1
            await answers.put(replace(entry_of(f"{number:03}"), elapsed_s=50.0 if number == 1 else 1.0))
        clock.now_s += 1
        await answers.count_hit("e_000")
    async with opened(path, budget_bytes=100 * SIZE, policy=policy, now=clock) as answers:
        for name in ("new", "2nd"):
            clock.now_s += 1
            await answers.put(entry_of(name))

        kept = {name: await is_kept(answers, key) for name, key in (("used", "000"), ("dear", "001"), ("new", "new"))}
        assert kept[stays]
        assert answers.stats.evicted > 0
        assert not (policy == "fifo" and kept["used"])


async def test_random_eviction_spares_the_new_as_much_as_the_old(path: Path) -> None:
    async with opened(path, budget_bytes=200 * SIZE, policy="random", seed=5) as answers:
        for number in range(600):
            await answers.put(entry_of(f"{number:03}"))
        kept = [number for number in range(600) if await is_kept(answers, f"{number:03}")]

    assert len([number for number in kept if number < 400]) > 30
    assert len([number for number in kept if number >= 400]) > 100


async def test_a_tenant_over_its_budget_pays_alone(path: Path) -> None:
    loud = SIZE + len("loud")
    async with opened(path, budget_bytes=1000 * SIZE, tenant_bytes=100 * loud) as answers:
        for number in range(20):
            await answers.put(replace(entry_of(f"{number:03}", scope="q"), tenant="quiet", elapsed_s=0.0))
        for number in range(300):
            await answers.put(replace(entry_of(f"{number:03}"), tenant="loud"))
            assert tenant_bytes(path, "loud") <= 100 * loud

        assert await answers.count(Selection(tenant="quiet")) == 20
        assert 90 <= await answers.count(Selection(tenant="loud")) <= 100


async def test_what_went_is_told_to_whoever_keeps_an_index(path: Path) -> None:
    async with opened(path, budget_bytes=100 * SIZE) as answers:
        for number in range(101):
            await answers.put(entry_of(f"{number:03}"))

        told = answers.take_gone()
        assert len(told) == answers.stats.evicted
        assert not any([await is_kept(answers, one.id.removeprefix("e_")) for one in told])
        assert answers.take_gone() == []
        for one in told:
            await answers.put(entry_of(one.id.removeprefix("e_")))
        assert not {one.id for one in told[-3:]} & {one.id for one in answers.take_gone()}  # they are there again


async def test_another_policy_takes_over_a_file_as_it_is(path: Path) -> None:
    async with opened(path, budget_bytes=100 * SIZE, policy="lru", now=Clock(2e9)) as answers:
        for number in range(99):
            await answers.put(replace(entry_of(f"{number:03}"), elapsed_s=30.0 if number < 20 else 0.5))
    async with opened(path, budget_bytes=100 * SIZE, policy="cost") as answers:
        for name in ("new", "2nd"):
            await answers.put(replace(entry_of(name), elapsed_s=0.5))

        assert answers.stats.evicted > 0
        assert all([await is_kept(answers, f"{number:03}") for number in range(20)])


async def test_a_replaced_entry_keeps_its_hits(path: Path) -> None:
    async with opened(path) as answers:
        await answers.put(entry_of())
        await answers.count_hit("e_a")
        await answers.count_hit("e_a")
    async with opened(path) as answers:
        await answers.put(entry_of(text="new"))

    assert query(path, "SELECT hits FROM entries") == (2,)


async def test_long_ended_entries_are_deleted_behind_puts(path: Path) -> None:
    clock = Clock()
    async with opened(path, keep_stale_s=10, now=clock) as answers:
        for number in range(200):
            await answers.put(replace(entry_of(f"{number}"), expires_s=clock() + 5))
        clock.now_s += 15
        await answers.put(entry_of("later"))
        await answers.put(entry_of("still later"))

        assert await answers.size() == 2
        assert answers.stats.expired == 200


@pytest.mark.parametrize("seed", range(3))
async def test_the_totals_are_true_after_random_operations(path: Path, seed: int) -> None:
    rng, clock = random.Random(seed), Clock()
    async with opened(path, budget_bytes=30 * SIZE, keep_stale_s=5, now=clock) as answers:
        for _ in range(300):
            name, scope = f"{rng.randrange(60)}", rng.choice("xy")
            if rng.random() < 0.7:
                await answers.put(random_entry(rng, name, scope, clock()))
            elif rng.random() < 0.5:
                await answers.remove(digest(scope), f"e_{name}")
            elif rng.random() < 0.2:
                await answers.remove_all(
                    Selection(tenant=rng.choice(("one", "two")), before_s=clock() - rng.random() * 40)
                )
            elif rng.random() < 0.4:
                verdict = Verdict(f"{rng.randrange(3)}", rng.random() < 0.5, "", clock())
                found = await answers.by_id(digest(scope), f"e_{name}")
                if found is not None:
                    await answers.judge(found, verdict)
            elif rng.random() < 0.5:
                row = Unembedded(f"e_{name}", digest(scope), b"", f"what is {name}?", None)
                await answers.set_vector(row, rng.choice(("mini@1", "størst@1")), bytes(rng.randrange(100)))
            else:
                await answers.count_hit(f"e_{name}")
            clock.now_s += rng.random()
        all_left = [await answers.get(digest(scope), digest(f"{name}")) for scope in "xy" for name in range(60)]
        rows = await answers.select(Selection(), Page(500))
        weights = [size_bytes(entry, encode(entry.completion)) for entry in all_left if entry is not None]
        visible = [row.size_bytes for row in rows if row.expires_s is None or row.expires_s > clock() - 5]
        assert sorted(visible) == sorted(weights)

    assert query(path, "SELECT entries, size_bytes FROM totals") == query(
        path, "SELECT count(*), sum(size_bytes) FROM entries"
    )
    kept = "SELECT tenant, entries, size_bytes FROM tenants"
    counted = "SELECT tenant, count(*), sum(size_bytes) FROM entries GROUP BY tenant"
    assert query(path, f"SELECT count(*) FROM ({kept} EXCEPT {counted})") == (0,)  # noqa: S608
    assert query(path, f"SELECT count(*) FROM ({counted} EXCEPT {kept})") == (0,)  # noqa: S608
    assert query(path, "SELECT count(*) FROM verdicts WHERE id NOT IN (SELECT id FROM entries)") == (0,)
    assert query(path, "PRAGMA integrity_check") == ("ok",)


async def test_a_vector_that_comes_later_weighs_what_one_from_the_start_weighs(path: Path) -> None:
    whole = replace(entry_of(), embedder="størst@1", vector=b"12345678")
    row = unembedded_of(whole)
    assert row is not None
    async with opened(path, budget_bytes=None) as answers:
        await answers.put(replace(entry_of(), embedder="mini@1", vector=b"1"))
        await answers.set_vector(row, "størst@1", b"12345678")

        assert await answers.size_bytes() == size_bytes(whole, encode(whole.completion))


def random_entry(rng: random.Random, name: str, scope: str, now_s: float) -> Entry:
    text = "t" * rng.randrange(2 * SIZE)
    return replace(
        entry_of(name, scope=scope, text=text),
        id=f"e_{rng.choice((name, '0', '1'))}",
        elapsed_s=rng.random(),
        tenant=rng.choice(("", "one", "two")),
        expires_s=rng.choice((None, now_s + 20)),
    )


# -- two at a time -------------------------------------------------------------------------------------------------


async def test_reads_go_on_while_somebody_writes(path: Path) -> None:
    async with opened(path, busy_timeout_s=0.05) as answers:
        await answers.put(entry_of())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE entries SET model = 'half written'")
            assert await answers.get(digest("s"), digest("a")) == entry_of()
            assert await answers.size() == 1
            with pytest.raises(CacheError, match="locked"):
                await answers.put(entry_of("b"))
            other.execute("ROLLBACK")

        await answers.put(entry_of("b"))
        assert await answers.size() == 2


async def test_two_stores_on_one_file_see_each_other(path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(opened(path)) for _ in range(2)]
        puts = [store.put(entry_of(f"{store is one}{n}")) for n in range(50) for store in (one, two)]
        await asyncio.gather(*puts)

        assert await one.size() == await two.size() == 100
        assert await two.get(digest("s"), digest("True7")) == entry_of("True7")
