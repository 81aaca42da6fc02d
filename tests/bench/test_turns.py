"""Asking from this process: each body once, and only what is a hit is counted as one."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from bench.semantic import _is_hit
from bench.turns import Block, block, held_on, together

_LENGTH = re.compile(rb"content-length: (\d+)")


@asynccontextmanager
async def answering(seen: list[bytes]) -> AsyncIterator[str]:
    """A server whose answers say in their headers what the request says in its body: a reason."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # they have gone
            while found := _LENGTH.search(await reader.readuntil(b"\r\n\r\n")):
                seen.append(await reader.readexactly(int(found[1])))
                status = b"500 No" if seen[-1] == b"broken" else b"200 OK"
                writer.write(
                    b"HTTP/1.1 %b\r\nx-twicetold-tier: semantic\r\nx-twicetold-reason: %b\r\n"
                    b"content-length: 2\r\n\r\n{}" % (status, seen[-1])
                )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_each_body_is_asked_once_and_a_hit_by_bare_form_is_none_by_meaning() -> None:
    bodies, seen = [b"same_question"] * 5 + [b"same_wording", b"miss"], list[bytes]()

    async with answering(seen) as url:
        found = await block(url, "/", bodies, 3, _is_hit)

    assert sorted(seen) == sorted(bodies)
    assert (found.hits, found.missed) == (5, 2)


async def test_what_is_no_answer_is_no_block() -> None:
    async with answering([]) as url:
        with pytest.raises(RuntimeError, match="said 500"):
            await block(url, "/", [b"broken"], 1, _is_hit)


def test_a_rate_is_of_hits_alone_and_blocks_add_up() -> None:
    found = together([Block(hits=6, missed=4, seconds=2.0), Block(hits=2, missed=0, seconds=2.0)])

    assert found == Block(hits=8, missed=4, seconds=4.0)
    assert found.per_second == 2.0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there is no holding a thread on a core here")
def test_a_thread_is_held_on_a_core_and_let_go() -> None:
    before = os.sched_getaffinity(0)

    with held_on(min(before)):
        meanwhile = os.sched_getaffinity(0)

    assert (meanwhile, os.sched_getaffinity(0)) == ({min(before)}, before)
