"""Redis behind a line that is slow: what comes in time is served, what does not costs its first callers a timeout."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link
from tests.contracts.answers_contract import Clock, digest, entry_of
from tests.gateway.answers.redis.conftest import SECRET, store_of
from tests.gateway.answers.redis.test_trouble import found_at_last, until_flushed
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


class Line:
    """A proxy before a server that keeps each answer for a while."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self._port = port

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            server.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [asyncio.create_task(self._pass(*way)) for way in ((reader, there, False), (back, writer, True))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for end in (there, writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                await asyncio.sleep(self.delay_s if is_answer else 0)
                writer.write(piece)
                await writer.drain()


async def test_a_slow_redis_serves_within_its_time_and_beyond_it_is_passed_over(
    server: RedisServer, clock: Clock
) -> None:
    line = Line(server.port)
    async with line.open() as url:
        link = Link(url, SECRET, timeout_s=0.5)
        store = store_of(link, clock)
        await store.open()
        await store.put(entry_of("a"))
        await until_flushed(store)
        line.delay_s = 0.02
        assert await store.get(digest("s"), digest("a")) is not None

        line.delay_s = 2.0
        with pytest.raises(CacheError):
            await store.get(digest("s"), digest("a"))
        began_s = asyncio.get_running_loop().time()
        for _ in range(50):
            with suppress(CacheError):
                await store.get(digest("s"), digest("a"))
        assert asyncio.get_running_loop().time() - began_s < 50 * 0.5  # they did not wait for it one after another

        line.delay_s = 0.0
        assert await found_at_last(store, "a") is not None
        await store.close()
        await link.close()
        await asyncio.sleep(0.1)  # the line hangs up, too
