"""A gateway before several servers: one dies, one hangs, one has too much to do, and nobody hears of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream, running_upstream

# `solo`: one at a time, and one may wait
CONFIG = """
    [cache]
    semantic = false
    [routing]
    health_s = 0
    breaker_failures = 3
    breaker_open_s = 60
    breaker_max_open_s = 60
    {servers}
    [[backends]]
    name = "solo"
    url = "{solo}"
    models = ["solo"]
    max_concurrency = 1
    max_queue = 1
    [[aliases]]
    name = "smart"
    targets = [{{ model = "nobody-serves-this" }}]
    fallback = ["solo"]
    [[aliases]]
    name = "mixed"
    targets = [{{ model = "m", weight = 1 }}, {{ model = "solo", weight = 1 }}]
    """
SERVER = """
    [[backends]]
    name = "{name}"
    url = "{url}"
    models = ["m"]
    revision = "1"
    timeouts = {{ first_token_s = 0.5, idle_s = 5 }}
    """


REPLICAS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def lives() -> Iterator[dict[str, ExitStack]]:
    """What ends each server when it is closed."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(ExitStack()) for name in (*REPLICAS, "solo")}


@pytest.fixture(scope="module")
def servers(lives: dict[str, ExitStack]) -> dict[str, RunningUpstream]:
    return {name: life.enter_context(running_upstream()) for name, life in lives.items()}


@pytest.fixture(scope="module")
def fleet(servers: dict[str, RunningUpstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("fleet")
    config = folder / "twicetold.toml"
    several = "".join(SERVER.format(name=name, url=servers[name].base_url) for name in REPLICAS)
    config.write_text(CONFIG.format(servers=several, solo=servers["solo"].base_url))
    with running_gateway(folder / "data", "--config", str(config)) as running:
        yield running


@pytest.fixture(autouse=True)
def polite(servers: dict[str, RunningUpstream]) -> None:
    for server in servers.values():
        server.control(mode="normal", reset=True)


def ask(gateway: Gateway, text: str, model: str = "m", **more: Any) -> httpx.Response:
    return gateway.post({"model": model, "messages": [{"role": "user", "content": text}], **more})


def post(gateway: Gateway, path: str, body: Any = None) -> httpx.Response:
    return httpx.post(f"{gateway.url}/admin/api/backends/{path}", json={} if body is None else body, **LOOPBACK)


def backends(gateway: Gateway) -> dict[str, Any]:
    return {one["name"]: one for one in gateway.get("/admin/api/backends").json()["backends"]}


def sent(servers: dict[str, RunningUpstream]) -> dict[str, int]:
    return {name: server.counters()["requests"] for name, server in servers.items()}


def test_a_drained_server_gets_nothing_new_until_it_is_back(
    fleet: Gateway, servers: dict[str, RunningUpstream]
) -> None:
    assert post(fleet, "a/drain").json()["state"] == "drained"
    for number in range(6):
        assert ask(fleet, f"drained {number}").status_code == 200

    assert sent(servers)["a"] == 0
    assert fleet.get("/readyz").json()["parts"]["a"] == "drained"
    assert post(fleet, "a/resume").json()["state"] == "ready"


def test_the_admin_routes_want_json_and_a_backend_that_is_there(fleet: Gateway) -> None:
    formless = httpx.post(f"{fleet.url}/admin/api/backends/a/drain", data={"x": "1"}, **LOOPBACK)

    assert formless.status_code == 415
    url = f"{fleet.url}/admin/api/backends/a/resume"
    assert httpx.post(url, **LOOPBACK).json()["state"] == "ready"
    assert httpx.post(url, headers={"origin": "http://evil.example"}, **LOOPBACK).status_code == 403
    assert httpx.post(url, headers={"origin": fleet.url}, **LOOPBACK).status_code == 415
    assert post(fleet, "nobody/drain").json()["error"]["code"] == "backend_not_found"
    assert post(fleet, "a/weight", {"weight": 0}).status_code == 400
    assert post(fleet, "a/weight", {"weight": 2}).json()["weight"] == 2
    post(fleet, "a/weight", {"weight": 1})


def test_the_turns_of_a_conversation_go_to_one_replica(fleet: Gateway, servers: dict[str, RunningUpstream]) -> None:
    for server in servers.values():
        server.control(mode="with:no-usage")  # it would say that it had kept nothing
    talk: list[dict[str, str]] = [{"role": "system", "content": "Be brief, and say where you know it from. " * 100}]
    for turn in range(4):
        talk.append({"role": "user", "content": f"turn {turn} of a long conversation"})
        reply = fleet.post({"model": "m", "messages": talk}).json()
        talk.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"]})

    assert sorted(sent(servers).values()) == [0, 0, 0, 0, 4]


def test_an_alias_shares_conversations_out_and_an_equal_question_is_a_hit(
    fleet: Gateway, servers: dict[str, RunningUpstream]
) -> None:
    first = [ask(fleet, f"mixed {number}", "mixed") for number in range(12)]
    again = [ask(fleet, f"mixed {number}", "mixed") for number in range(12)]

    assert {reply.status_code for reply in first} == {200}
    assert {reply.headers["x-twicetold-tier"] for reply in again} == {"exact"}
    assert {reply.json()["model"] for reply in first} == {"m", "solo"}
    counts = sent(servers)
    assert counts["solo"] > 0
    assert sum(counts[name] for name in REPLICAS) == 12 - counts["solo"]


def test_a_fallback_says_so_and_its_answer_is_not_kept(fleet: Gateway, servers: dict[str, RunningUpstream]) -> None:
    replies = [ask(fleet, "who answers", "smart") for _ in range(2)]

    assert [reply.headers["x-twicetold-fallback"] for reply in replies] == ["solo", "solo"]
    assert [reply.headers["x-twicetold-reason"] for reply in replies] == ["fallback", "fallback"]
    assert sent(servers)["solo"] == 2
    fallbacks = fleet.get("/admin/api/backends").json()["fallbacks"]
    assert fallbacks == [{"model": "nobody-serves-this", "answered_by": "solo", "times": 2}]
    assert fleet.get("/readyz").json()["parts"]["alias smart"] == "nobody serves nobody-serves-this"


def test_one_keys_failures_shut_out_nobody_else(fleet: Gateway, servers: dict[str, RunningUpstream]) -> None:
    def say(text: str, key: str) -> httpx.Response:
        body = {"model": "solo", "messages": [{"role": "user", "content": text}]}
        return fleet.post(body, authorization=f"Bearer {key}")

    servers["solo"].control(next=["error:500"] * 3)
    broken = [say(f"break it {number}", "rude") for number in range(4)]
    served = say("and me?", "polite")
    servers["solo"].control(next=["error:402"])
    unpaid = say("who pays?", "polite")

    assert [reply.status_code for reply in (*broken, served, unpaid)] == [502, 502, 502, 503, 200, 502]
    assert unpaid.json()["error"]["code"] == "upstream_billing"
    assert backends(fleet)["solo"]["breaker"] == {"state": "closed", "opened": 1, "tenants": 1, "wait_s": 0}


def test_a_slow_server_has_one_request_at_a_time_one_waits_and_the_next_is_told(
    fleet: Gateway, servers: dict[str, RunningUpstream]
) -> None:
    servers["solo"].control(next=["hang:mid"])
    body = {"model": "solo", "stream": True, "messages": [{"role": "user", "content": "slow"}]}
    url = f"{fleet.url}/v1/chat/completions"
    with ThreadPoolExecutor(1) as threads, httpx.Client(**LOOPBACK) as client:
        with client.stream("POST", url, json=body) as running:
            lines = running.iter_lines()  # let go, it would close the stream
            next(lines)
            waiting = threads.submit(ask, fleet, "next", "solo")
            fleet.wait_for(lambda stats: [one["waiting"] for one in stats["backends"] if one["name"] == "solo"], [1])
            refused = ask(fleet, "one too many", "solo")
        served = waiting.result()  # who ran has left, and his place is free

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "backend_overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert served.status_code == 200
    assert sent(servers)["solo"] == 2


def test_one_dies_one_hangs_one_is_busy_and_no_caller_hears_of_it(
    fleet: Gateway, servers: dict[str, RunningUpstream], lives: dict[str, ExitStack]
) -> None:
    """Last: what it breaks stays broken."""
    servers["a"].control(mode="hang")
    servers["b"].control(mode="error:429")
    with ThreadPoolExecutor(4) as threads:
        replies = [threads.submit(ask, fleet, f"outage {number}", stream=True) for number in range(8)]
        lives["c"].close()
        replies += [threads.submit(ask, fleet, f"outage {number}", stream=True) for number in range(8, 16)]
    seen = backends(fleet)

    assert [reply.result().status_code for reply in replies] == [200] * 16
    assert all("data: [DONE]" in reply.result().text for reply in replies)
    assert set(seen["a"]["failures"]) <= {"timeout"}
    assert set(seen["b"]["failures"]) <= {"busy"}
    assert seen["b"]["breaker"]["state"] == "closed"
    assert set(seen["c"]["failures"]) <= {"unavailable", "error"}
    assert seen["d"]["failures"] == {}
    assert "HTTP Request" not in fleet.log.read_text(), "a client logs every request"
    metrics = fleet.get("/metrics").text
    assert "twicetold_failovers_total" in metrics
    assert 'twicetold_backend_requests_total{backend="d"}' in metrics
    assert 'twicetold_backend_up{backend="d"} 1.0' in metrics
