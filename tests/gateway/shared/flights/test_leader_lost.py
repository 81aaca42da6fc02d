"""A leader in a process of its own dies, or hangs; a follower finishes. And Redis goes away in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.chat import ChatRequest
from backends.fake import Step, say
from gateway.controls import Controls
from tests.gateway.house import House
from tests.gateway.shared.flights.town import LEASE_S, QUESTION, chat, listen, town, until
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

pytestmark = needs_redis
ROOT = Path(__file__).parents[4]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    yield from serving(tmp_path)


@contextmanager
def leader(redis: RedisServer, exact: bytes) -> Iterator[subprocess.Popen[str]]:
    """Another gateway, that has said the first half of an answer."""
    command = [sys.executable, "-m", "tests.gateway.shared.flights.leader", redis.url, exact.hex(), str(LEASE_S)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "leading\n"
            yield process
        finally:
            process.kill()


async def exact_of(one: House) -> bytes:
    request = ChatRequest("scripted", ({"role": "user", "content": QUESTION},))
    return (await one.pipeline.ask(request, "t", "", Controls())).fp.exact


async def test_a_follower_finishes_what_a_killed_leader_began(redis: RedisServer, tmp_path: Path) -> None:
    async with town(redis, tmp_path, say("half an answer")) as here:
        heard: list[str] = []
        with leader(redis, await exact_of(here.houses[0])) as process:
            listening = asyncio.create_task(listen(here.houses[0], heard))
            await until(lambda: "".join(heard) == "half an")
            assert here.calls == 0
            process.kill()
            await listening

        assert "".join(heard) == "half an answer"
        assert here.calls == 1


async def test_a_hung_leader_is_not_waited_for_and_its_answer_not_kept(redis: RedisServer, tmp_path: Path) -> None:
    async with town(redis, tmp_path, say("half an answer")) as here:
        with leader(redis, await exact_of(here.houses[0])) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            os.kill(process.pid, signal.SIGSTOP)
            _, completion = await chat(here.houses[0], stream=False)
            os.kill(process.pid, signal.SIGCONT)
            process.stdin.write("go on\n")
            process.stdin.flush()

            assert completion.text == "half an answer"
            assert await asyncio.to_thread(process.stdout.readline) == "not kept\n"


async def test_a_stream_that_cannot_be_continued_ends_as_one_that_was_cut(redis: RedisServer, tmp_path: Path) -> None:
    async with town(redis, tmp_path, say("something quite different")) as here:
        heard: list[str] = []
        with leader(redis, await exact_of(here.houses[0])) as process:
            listening = asyncio.create_task(listen(here.houses[0], heard))
            await until(lambda: "".join(heard) == "half an")
            process.kill()
            error = (await asyncio.gather(listening, return_exceptions=True))[0]

        assert getattr(error, "code", None) == "backend_bad_response"


async def test_who_waits_for_a_first_word_when_redis_dies_generates_at_once(redis: RedisServer, tmp_path: Path) -> None:
    may_end = asyncio.Event()
    async with town(redis, tmp_path, [may_end, *say("as planned")], say("on its own"), lease_s=60) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        following = asyncio.create_task(chat(here.houses[1]))
        await until(lambda: any(led.num_ears for led in here.flights[0].leading))
        redis.kill()

        assert (await following)[1].text == "on its own"
        may_end.set()
        assert (await leading)[1].text == "as planned"


async def test_a_stream_goes_on_after_redis_was_restarted(redis: RedisServer, tmp_path: Path) -> None:
    may_end = asyncio.Event()
    script: list[Step] = [*say("half an answer")[:3], may_end, *say("half an answer")[3:]]
    async with town(redis, tmp_path, script, script, lease_s=8) as here:
        heard: list[str] = []
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        listening = asyncio.create_task(listen(here.houses[1], heard))
        await until(lambda: "".join(heard) == "half an")
        redis.kill()
        await asyncio.sleep(0.3)
        redis.start()
        may_end.set()
        await asyncio.gather(leading, listening)

        assert "".join(heard) == "half an answer"
        assert here.calls == 1
