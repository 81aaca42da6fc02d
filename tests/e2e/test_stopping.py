"""A gateway that is told to stop: what was answered is kept, who still waits is told."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

NUM = 60
SETTINGS = {"cache__semantic": "false", "drain_s": "0.3"}


async def asked(gateway: Gateway) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Many that are answered, and, when the last of them is, a stop while others still wait."""
    async with httpx.AsyncClient(base_url=gateway.url, **LOOPBACK, timeout=60) as client:

        def ask(number: int, model: str, **more: Any) -> "asyncio.Task[httpx.Response]":
            body = {"model": model, "messages": [{"role": "user", "content": f"Number {number}?"}], **more}
            return asyncio.create_task(client.post("/v1/chat/completions", json=body))

        waiting = [ask(1000 + number, "hang") for number in range(3)]
        answered = await asyncio.gather(*[ask(number, "m", stream=number % 2 == 0) for number in range(NUM)])
        gateway.process.terminate()
        return answered, await asyncio.gather(*waiting)


def test_a_stop_keeps_what_was_answered_and_tells_who_still_waits(upstream: RunningUpstream, tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data", "--upstream", upstream.base_url, **SETTINGS) as first:
        answered, told = asyncio.run(asked(first))
        first.process.wait(timeout=30)
    with running_gateway(tmp_path / "data", "--upstream", upstream.base_url, **SETTINGS) as second:
        again = [
            second.post({"model": "m", "messages": [{"role": "user", "content": f"Number {number}?"}]})
            for number in range(NUM)
        ]

    assert {response.status_code for response in answered} == {200}
    assert [response.json()["error"]["code"] for response in told] == ["stopping"] * 3
    assert [response.headers["x-twicetold-tier"] for response in again] == ["exact"] * NUM
