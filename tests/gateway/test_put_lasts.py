"""The word of a put: `complete` is said of what the store has, and a store that has trouble costs that word alone."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from backends.chat import Choice, Completion
from gateway.answers.base import Store
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.aside import CacheAside, Found, Kept, Missed
from gateway.body import Curfew
from gateway.callers.keys import Keys
from gateway.forgotten import Forgotten
from gateway.routes.cache import CacheDesk, cache_routes
from gateway.routes.intake import Intake
from gateway.served import ServedMemory
from gateway.shapes.chat import ChatShape
from tests.gateway.house import SECRET, House, house
from tests.gateway.test_aside import ANSWER, EXACT, request
from tests.kvtier.tiers.servers import RedisServer, needs_redis

NOBODY_WAITS_S = 60.0
EVERYTHING = Selection(model="scripted")


class Desk:
    """Puts and looks up as one tenant."""

    def __init__(self, gateway: House, word_s: float = NOBODY_WAITS_S) -> None:
        self.gateway = gateway
        self.aside = CacheAside(gateway.pipeline, ServedMemory(), gateway.ledger, Forgotten(), word_s=word_s)

    async def put(self, answer: Completion = ANSWER) -> Kept:
        return await self.aside.put(request(), "t", "", EXACT, answer)

    async def look_up(self) -> Found | Missed:
        return await self.aside.look_up(request(), "t", "", EXACT, response_id="chatcmpl-1")

    async def putting(self) -> "asyncio.Task[Kept]":
        """A put whose answer is in memory, so that the store has its turn."""
        task = asyncio.create_task(self.put())
        while isinstance(await self.look_up(), Missed):  # noqa: ASYNC110 - memory tells nobody
            await asyncio.sleep(0)
        return task

    async def num_stored(self) -> int:
        return await self.gateway.answers.count(EVERYTHING)


@contextmanager
def locked(folder: Path) -> Iterator[sqlite3.Connection]:
    """Nobody else writes to the file; it is let go by `rollback`."""
    with closing(sqlite3.connect(folder / "answers.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@asynccontextmanager
async def patient(folder: Path, *, busy_timeout_s: float = NOBODY_WAITS_S) -> AsyncIterator[House]:
    """A gateway whose store waits so long for a file that is locked."""
    store = SqliteAnswers(folder / "answers.db", budget_bytes=1 << 26, busy_timeout_s=busy_timeout_s)
    async with house(folder, store=store) as gateway:
        yield gateway


async def test_a_put_is_answered_when_the_store_has_it_and_served_before(tmp_path: Path) -> None:
    async with patient(tmp_path) as gateway:
        desk = Desk(gateway)
        with locked(tmp_path) as lock:
            put = await desk.putting()
            for _ in range(100):
                await asyncio.sleep(0)
            assert (put.done(), await desk.num_stored()) == (False, 0)
            lock.rollback()
            kept = await put

        assert (kept.reason, kept.entry is not None, await desk.num_stored()) == ("complete", True, 1)


async def test_an_answer_that_the_store_refuses_is_in_memory_and_the_put_says_so(tmp_path: Path) -> None:
    app, asked = FastAPI(), {"model": "scripted", "messages": [{"role": "user", "content": "?"}]}
    async with (
        patient(tmp_path, busy_timeout_s=0.01) as gateway,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gw") as http,
    ):
        intake = Intake(Keys(SECRET, []), 1 << 20, Curfew())
        cache = CacheDesk(Desk(gateway).aside, gateway.ledger, {"chat": ChatShape()}, intake, is_local=True)
        app.include_router(cache_routes(cache))
        with locked(tmp_path):
            said = await http.put("/v1/cache/entries", json={"request": asked, "answer": "Paris."})
            found = await http.post("/v1/cache/lookup", json={"request": asked})

        assert said.status_code == 200
        assert (said.json()["kept"], said.json()["reason"]) == (True, "in_memory")
        assert (found.json()["hit"], found.json()["entry"]) == (True, said.json()["entry"])
        assert gateway.count("twicetold_cache_failures_total", step="exact_write") == 1


async def test_a_silent_store_keeps_no_caller_and_may_write_it_later(tmp_path: Path) -> None:
    async with patient(tmp_path) as gateway:
        desk = Desk(gateway, word_s=0.01)
        with locked(tmp_path) as lock:
            kept = await desk.put()
            assert (kept.reason, kept.entry is not None) == ("in_memory", True)
            assert isinstance(await desk.look_up(), Found)
            lock.rollback()
        await gateway.pipeline.close()

        assert await desk.num_stored() == 1


async def test_a_put_that_is_cancelled_is_written_all_the_same(tmp_path: Path) -> None:
    async with patient(tmp_path) as gateway:
        desk = Desk(gateway)
        with locked(tmp_path) as lock:
            put = await desk.putting()
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            lock.rollback()
        await gateway.pipeline.close()

        assert await desk.num_stored() == 1


async def test_a_put_that_is_removed_while_it_is_written_is_not_kept(tmp_path: Path) -> None:
    async with patient(tmp_path) as gateway:
        desk = Desk(gateway)
        with locked(tmp_path) as lock:
            put = await desk.putting()
            removal = asyncio.create_task(gateway.answers.remove_all(EVERYTHING))
            await asyncio.sleep(0)
            lock.rollback()
            kept = await put
        await removal

        assert (kept.reason, kept.entry, await desk.num_stored()) == ("overtaken", None, 0)


async def test_a_put_that_is_answered_anew_before_it_is_written_is_not_kept(tmp_path: Path) -> None:
    async with patient(tmp_path) as gateway:
        desk = Desk(gateway)
        puts = await asyncio.gather(desk.put(), desk.put())

        assert sorted(kept.reason for kept in puts) == ["complete", "overtaken"]
        assert await desk.num_stored() == 1


async def test_what_neither_memory_nor_the_store_has_room_for_is_not_kept(tmp_path: Path) -> None:
    large = Completion((Choice({"role": "assistant", "content": "x" * (2 << 20)}, "stop"),))
    store = SqliteAnswers(tmp_path / "answers.db", budget_bytes=1 << 20)
    async with house(tmp_path, store=store) as gateway:
        desk = Desk(gateway)
        kept = await desk.put(large)

        assert (kept.reason, kept.entry) == ("not_written", None)
        assert isinstance(await desk.look_up(), Missed)


@needs_redis
async def test_a_put_that_waits_for_a_redis_that_is_away_is_in_memory(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    link = Link(server.url, SECRET, timeout_s=0.5)
    store: Store = RedisAnswers(link, replica=b"r", budget_bytes=1 << 26)
    try:
        async with house(tmp_path, store=store) as gateway:
            desk = Desk(gateway)
            assert (await desk.put()).reason == "complete"
            server.kill()
            kept = await desk.put()
            assert (kept.reason, kept.entry is not None) == ("in_memory", True)
            assert isinstance(await desk.look_up(), Found)
    finally:
        await link.close()
        server.client.close()
        server.kill()
