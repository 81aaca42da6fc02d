"""Who leaves while a connection is made leaves none behind."""

import asyncio
import random
from contextlib import suppress

from backends.connecting import Connecting


async def test_connections_given_up_at_any_moment_are_closed() -> None:
    open_now = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        await reader.read()
        writer.close()
        open_now -= 1

    connecting, rng = Connecting(), random.Random(0)

    async def give_up(port: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(rng.uniform(0.0, 0.02)):
                stream = await connecting.connect_tcp("127.0.0.1", port)
                await stream.aclose()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*[give_up(port) for _ in range(200)])
        async with asyncio.timeout(10):
            while connecting.late or open_now:  # noqa: ASYNC110 - the other end says when
                await asyncio.sleep(0.01)
