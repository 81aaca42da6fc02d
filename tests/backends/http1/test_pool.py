"""Connections are lent and given back, and none is lost."""

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from random import Random

import pytest

from backends.http1.connection import Connection, Dropped
from backends.http1.dialing import ConnectTimeout, Place, dial
from backends.http1.pool import NoRoom, Pool, PoolRule
from tests.backends.test_http import OK, read_request

REQUEST = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def pool_of(most: int, *, idle_s: float = 30.0, wait_s: float = 5.0) -> AsyncIterator[tuple[Pool, list[int]]]:
    """A pool of a server that answers everything; and how many connections are open there."""
    open_now = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now[0] += 1
        with suppress(OSError):
            while await read_request(reader):
                writer.write(OK)
        open_now[0] -= 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    place = Place("127.0.0.1", server.sockets[0].getsockname()[1])
    pool = Pool(partial(dial, place, 5.0), PoolRule(most, idle_s, wait_s))
    try:
        yield pool, open_now
    finally:
        await pool.close()
        server.close()
        await server.wait_closed()


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def use(connection: Connection) -> None:
    connection.send(REQUEST)
    await connection.answered(soon())
    while await connection.read(soon()) is not None:
        pass


async def test_a_connection_that_is_cut_is_freed_without_a_collection() -> None:
    def num_there() -> int:
        return sum(type(one) is Connection for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        async with pool_of(10) as (pool, _):
            before = num_there()
            for is_read in (True, False):
                connection = await pool.lease(soon(), is_new=True)
                if is_read:
                    await use(connection)
                else:
                    connection.send(REQUEST)
                assert num_there() == before + 1
                connection.cut()
                del connection
                async with asyncio.timeout(5):
                    while num_there() > before:  # noqa: ASYNC110 - the loop frees it
                        await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_one_who_waits_gets_the_connection_that_is_given_back() -> None:
    async with pool_of(1) as (pool, open_now):
        first = await pool.lease(soon())
        waiting = asyncio.create_task(pool.lease(soon()))
        await use(first)
        pool.give_back(first)

        assert await waiting is first
        assert open_now == [1]


async def test_one_who_waits_gets_a_new_connection_when_one_is_cut() -> None:
    async with pool_of(1) as (pool, _):
        first = await pool.lease(soon())
        waiting = asyncio.create_task(pool.lease(soon()))
        await asyncio.sleep(0)
        pool.give_back(first)  # not used, so not whole

        assert await waiting is not first


async def test_nobody_waits_for_ever() -> None:
    async with pool_of(1, wait_s=0.02) as (pool, _):
        await pool.lease(soon())
        with pytest.raises(NoRoom):
            await pool.lease(soon())
        with pytest.raises(TimeoutError):
            await pool.lease(soon(0.01))


async def test_a_turn_given_to_one_who_left_goes_to_the_next() -> None:
    async with pool_of(1) as (pool, _):
        first = await pool.lease(soon())
        waiting = [asyncio.create_task(pool.lease(soon())) for _ in range(2)]
        await use(first)
        pool.give_back(first)
        waiting[0].cancel()

        assert await waiting[1] is first


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with pool_of(2, idle_s=0.02) as (pool, open_now), asyncio.timeout(5):
        connection = await pool.lease(soon())
        await use(connection)
        pool.give_back(connection)
        while open_now[0]:  # noqa: ASYNC110 - the other end says when
            await asyncio.sleep(0.005)

        assert connection.is_lost


async def test_a_new_connection_is_new_though_all_places_are_taken_by_idle_ones() -> None:
    async with pool_of(1) as (pool, _):
        first = await pool.lease(soon())
        await use(first)
        pool.give_back(first)

        assert await pool.lease(soon(), is_new=True) is not first


async def test_a_server_that_does_not_finish_the_handshake_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Place("localhost", silent.getsockname()[1], ssl.create_default_context())
        with pytest.raises(ConnectTimeout):
            await dial(place, 0.05, lambda _: None)


async def test_a_closed_pool_lends_nothing_to_who_waited_either() -> None:
    async with pool_of(1) as (pool, _):
        await pool.lease(soon())
        waiting = asyncio.create_task(pool.lease(soon()))
        await asyncio.sleep(0)
        await pool.close()
        for late in (waiting, pool.lease(soon())):
            with pytest.raises(ConnectionAbortedError):
                await late


async def test_whatever_happens_no_place_is_lost() -> None:
    rng = Random(7)
    async with pool_of(3, wait_s=0.05) as (pool, open_now):

        async def one() -> None:
            with suppress(NoRoom, TimeoutError, Dropped):
                connection = await pool.lease(soon(rng.choice([0.0, 0.002, 5.0])), is_new=rng.random() < 0.2)
                try:
                    if rng.random() < 0.7:
                        await use(connection)
                finally:
                    pool.give_back(connection)

        tasks = list[asyncio.Task[None]]()
        for _ in range(600):
            tasks.append(asyncio.create_task(one()))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)

        held = await asyncio.gather(*[pool.lease(soon()) for _ in range(3)])
        async with asyncio.timeout(5):
            while open_now[0] != 3:  # noqa: ASYNC110 - the other end says when
                await asyncio.sleep(0.005)

    assert len(set(held)) == 3
    assert not [task for task in tasks if not task.cancelled() and task.exception() is not None]
