"""A gateway that is short of memory lets nobody in before it ends, and says so; it serves again when there is room."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from gateway.edge.memory import STATM
from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream

TOO_LITTLE_MB = 40  # less than Python with a web server takes
FILLED = 0.7  # of what it may have, when it has served a little: caches let go at 0.8, nothing is generated at 0.9
BIG = 24  # requests; each holds five times its text while it is answered

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="the system does not say what a process takes")


def asking(text: str) -> dict[str, Any]:
    return {"model": "test-model", "messages": [{"role": "user", "content": text}]}


@contextmanager
def bounded_gateway(folder: Path, upstream: RunningUpstream, memory_mb: int) -> Iterator[Gateway]:
    settings = {"cache__semantic": "false", "edge__memory_mb": str(memory_mb)}
    with running_gateway(folder, "--upstream", upstream.base_url, **settings) as gateway:
        yield gateway


def served(gateway: Gateway) -> list[int]:
    """What a few small requests come to."""
    return [gateway.post(asking(f"What is {number}?")).status_code for number in range(5)]


def samples(gateway: Gateway, name: str) -> float:
    """All of a metric together."""
    found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", gateway.get("/metrics").text, re.MULTILINE)
    return sum(map(float, found))


def is_overloaded(said: httpx.Response) -> bool:
    """Whether it was refused in the words for that."""
    code = said.json()["error"]["code"]
    return (said.status_code, code) == (503, "overloaded") and int(said.headers["retry-after"]) >= 1


def test_what_is_asked_of_a_gateway_without_memory_is_refused_and_comes_again_later(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    with bounded_gateway(tmp_path / "data", upstream, TOO_LITTLE_MB) as gateway:
        deadline = time.monotonic() + 20
        while (refused := gateway.post(asking("Is there room?"))).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.1)  # it looks once a second

        assert is_overloaded(refused)
        assert gateway.get("/healthz").status_code == 200
        assert samples(gateway, "twicetold_memory_share") > 1


def test_a_gateway_that_is_filled_under_load_refuses_meanwhile_and_serves_again(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    with bounded_gateway(tmp_path / "free", upstream, 0) as gateway:
        served(gateway)
        bare_mb = psutil.Process(gateway.process.pid).memory_info().rss / 2**20
    with bounded_gateway(tmp_path / "data", upstream, round(bare_mb / FILLED)) as gateway:
        assert served(gateway) == [200] * 5
        upstream.control(mode="slow:0.3", reset=True)  # 12 tokens
        told = flood(gateway)
        assert gateway.get("/healthz").status_code == 200

        whole = [one for one in told if one.status_code == 200]
        assert all(one.json()["choices"][0]["finish_reason"] == "stop" for one in whole)
        assert all(is_overloaded(one) for one in told if one.status_code != 200)
        assert 0 < len(whole) < BIG
        assert upstream.counters()["requests"] == len(whole)  # who is refused costs nobody anything
        assert samples(gateway, "twicetold_memory_shed_total") > 0

        upstream.control(mode="normal")
        deadline = time.monotonic() + 60
        while (again := gateway.post(asking("Is there room again?"))).status_code != 200:
            assert is_overloaded(again)
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert served(gateway) == [200] * 5
        assert gateway.process.poll() is None


def flood(gateway: Gateway) -> list[httpx.Response]:
    """Large requests, one after the other, and all of them under way at once."""
    with ThreadPoolExecutor(BIG) as pool:
        asked = []
        for number in range(BIG):
            asked.append(pool.submit(gateway.post, asking(f"{number} " + "word " * 200_000)))
            time.sleep(0.1)
        return [one.result() for one in asked]
