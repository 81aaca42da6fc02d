"""What compose.yaml starts, started by hand: gateways, the Redis they share, and the balancer before them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.deploy.balancer import Balancer, balancing, needs_haproxy
from tests.deploy.metrics import not_exported, undocumented
from tests.e2e.server import Gateway, running_gateway
from tests.kvtier.tiers.servers import needs_redis, serving
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream, running_upstream

pytestmark = [needs_redis, needs_haproxy]

SECRET = "what all gateways are told, and nobody else"


@dataclass(frozen=True)
class Site:
    balancer: Balancer
    one: Gateway
    two: Gateway
    three: Gateway
    upstream: RunningUpstream

    def ask(self, text: str, timeout_s: float = 60, **more: Any) -> httpx.Response:
        body = {"model": "test-model", "messages": [{"role": "user", "content": text}], **more}
        return httpx.post(f"{self.balancer.url}/v1/chat/completions", json=body, timeout=timeout_s, **LOOPBACK)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        servers = serving(folder)
        redis = next(servers)
        stack.callback(next, servers, None)
        upstream = stack.enter_context(running_upstream())
        told = {"secret_env": "TWICETOLD_SECRET", "secret": SECRET, "redis": redis.url, "cache__semantic": "false"}
        gateways = [
            stack.enter_context(running_gateway(folder / name, "--upstream", upstream.base_url, **told))
            for name in ("one", "two", "three")
        ]
        addresses = [gateway.url.removeprefix("http://") for gateway in gateways]
        balancer = stack.enter_context(balancing(folder, addresses))
        balancer.wait(3)
        yield Site(balancer, gateways[0], gateways[1], gateways[2], upstream)


def test_all_gateways_are_asked_and_share_what_they_were_told(site: Site) -> None:
    first = site.ask("What do gateways share?")
    again = [site.ask("What do gateways share?") for _ in range(6)]

    assert first.headers["x-twicetold-tier"] == "full"
    assert {answer.headers["x-twicetold-tier"] for answer in again} == {"exact"}
    assert {answer.json()["choices"][0]["message"]["content"] for answer in again} == {
        first.json()["choices"][0]["message"]["content"]
    }
    assert all(gateway.stats()["requests"] > 0 for gateway in (site.one, site.two, site.three))


async def test_a_stream_comes_through_piece_by_piece_and_ends_with_its_reader(site: Site) -> None:
    body = {"model": "hang:mid", "messages": [{"role": "user", "content": "begin"}], "stream": True}
    address = f"{site.balancer.url}/v1/chat/completions"
    with httpx.stream("POST", address, json=body, timeout=20, **LOOPBACK) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        pieces = (line for line in response.iter_lines() if line.startswith("data: "))
        heard = [next(pieces) for _ in range(3)]  # and the upstream never says more

    assert all('"delta"' in piece for piece in heard)
    await site.upstream.until("disconnects", 1)


async def test_who_stops_waiting_stops_the_generation(site: Site) -> None:
    before = site.upstream.counters()["disconnects"]
    with pytest.raises(httpx.ReadTimeout):
        site.ask("never a byte", model="hang", timeout_s=0.5)

    await site.upstream.until("disconnects", before + 1)


def test_numbers_are_not_shown_to_clients(site: Site) -> None:
    assert httpx.get(f"{site.balancer.url}/metrics", **LOOPBACK).status_code == 404
    assert httpx.get(f"{site.balancer.url}/readyz", **LOOPBACK).status_code == 200


def test_every_metric_that_is_drawn_or_watched_is_exported(site: Site) -> None:
    site.ask("So that there is something to count")
    engines_and_meanings = (
        "kv",
        "engine",
        "draft",
        "semantic",
        "wrong",
        "promotions",
        "second_looks",
        "index_",
        "oidc",
    )  # tests of their own
    exported = site.two.get("/metrics").text
    assert not_exported(exported, but=engines_and_meanings) == set()
    assert undocumented(exported) == set()


def test_a_gateway_that_is_stopped_under_load_costs_no_request(site: Site) -> None:
    def ask(number: int) -> int:
        if number == 8:
            site.two.process.terminate()
        return site.ask(f"question {number}", model="slow:0.01").status_code

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(ask, range(36))) == {200}
    site.two.process.wait(20)


def test_a_gateway_that_is_killed_costs_nobody_who_comes_afterwards_anything(site: Site) -> None:
    site.three.process.kill()
    site.three.process.wait()

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(site.ask, (f"question {number}" for number in range(12))))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-twicetold-tier"] for answer in answers} == {"full"}
    site.balancer.wait(1)
