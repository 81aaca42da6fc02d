"""Why a request hits or misses, asked of a real server; asking changes nothing."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.server import Gateway
from tests.e2e.test_commands import twicetold
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

SYSTEM = {"role": "system", "content": "You answer briefly."}


def body_of(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [SYSTEM, {"role": "user", "content": text}], **fields}


def explain(gateway: Gateway, request: dict[str, Any], **more: Any) -> dict[str, Any]:
    address = f"{gateway.url}/admin/api/explain"
    response = httpx.post(address, json={"request": request, **more}, timeout=30, **LOOPBACK)
    told: dict[str, Any] = response.json()
    return told


def nearest(told: dict[str, Any]) -> list[str]:
    return [difference["text"] for difference in told["exact"]["nearest"]["differences"]]


def kept(gateway: Gateway, request: dict[str, Any], **headers: str) -> str:
    """Ask, and wait until the store has it."""
    before = gateway.stats()["entries"]
    entry: str = gateway.post(request, **headers).headers["x-twicetold-entry"]
    gateway.wait_for(lambda stats: stats["entries"] > before, True)
    return entry


def test_a_stored_request_is_explained_as_a_hit(gateway: Gateway) -> None:
    entry = kept(gateway, body_of("explain a hit"))
    told = explain(gateway, body_of("explain a hit"))

    assert told["would"] == {"tier": "exact", "reason": "same_request", "entry": entry}
    assert told["exact"]["found"]


def test_the_fields_that_differ_from_the_nearest_request_are_named(gateway: Gateway) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    kept(gateway, body_of("name the fields"))
    told = explain(gateway, body_of("name the fields", temperature=0.7, tools=[tool], max_tokens=5))

    assert told["would"]["tier"] == "full"
    assert nearest(told) == [
        "max_tokens: 5 here, nothing there",
        "temperature: 0.7 here, 1 there",
        "tools: look_up only here",
    ]


def test_the_place_where_messages_part_is_told(gateway: Gateway) -> None:
    kept(gateway, body_of("where do we part"))
    other = {
        "model": "m",
        "messages": [{**SYSTEM, "content": "You answer at length."}, {"role": "user", "content": "where do we part"}],
    }

    (text,) = nearest(explain(gateway, other))
    assert text.startswith("system message differs at character 12:")


def test_the_same_request_in_another_scope_is_pointed_at(gateway: Gateway) -> None:
    entry = kept(gateway, body_of("whose wall"), Authorization="Bearer sk-a")
    told = explain(gateway, body_of("whose wall"), api_key="sk-b")

    assert not told["exact"]["found"]
    assert [(place["entry"], place["walls"]) for place in told["exact"]["elsewhere"]] == [(entry, ["tenant"])]
    salted = explain(gateway, body_of("whose wall", cache_salt="s", cache={"namespace": "n"}), api_key="sk-a")
    assert [place["walls"] for place in salted["exact"]["elsewhere"]] == [["namespace"]]
    salted = explain(gateway, body_of("whose wall", cache_salt="s"), api_key="sk-a")
    assert [place["walls"] for place in salted["exact"]["elsewhere"]] == [["cache_salt"]]
    assert explain(gateway, body_of("whose wall"), api_key="sk-a")["would"]["tier"] == "exact"


def test_asking_why_changes_nothing(gateway: Gateway, upstream: RunningUpstream) -> None:
    entry = kept(gateway, body_of("left alone"))
    before, calls = gateway.stats(), upstream.counters()["requests"]
    for text in ("left alone", "never asked"):
        explain(gateway, body_of(text))

    assert gateway.stats()["tiers"] == before["tiers"]
    assert gateway.stats()["entries"] == before["entries"]
    assert upstream.counters()["requests"] == calls
    assert gateway.get(f"/admin/api/entries/{entry}").json()["hits"] == 0


def test_a_response_is_explained_afterwards(gateway: Gateway) -> None:
    first, again = (gateway.post(body_of("and afterwards?")).json()["id"] for _ in range(2))
    told = [gateway.get(f"/admin/api/explain/{response}").json() for response in (first, again)]

    assert [(one["tier"], one["reason"]) for one in told] == [("full", "miss"), ("exact", "same_request")]
    assert gateway.get("/admin/api/explain/chatcmpl-none").status_code == 404


def test_a_stream_says_where_it_came_from_as_a_whole_answer_does(gateway: Gateway) -> None:
    said = []
    for is_stream in (True, True, False):
        headers = gateway.post(body_of("streams say it too", stream=is_stream)).headers
        said.append((headers["x-twicetold-tier"], headers["x-twicetold-reason"], headers["x-twicetold-entry"]))

    assert [tier for tier, _, _ in said] == ["full", "exact", "exact"]
    assert said[1] == said[2]


def test_a_bypass_is_explained_by_its_reason(gateway: Gateway) -> None:
    told = explain(gateway, body_of("round it", cache={"no-cache": True}))

    assert told["would"] == {"tier": "full", "reason": "no_cache", "entry": None}
    assert told["plan"]["bypass"] == "no_cache"


def test_a_request_that_cannot_be_read_is_refused_by_name(gateway: Gateway) -> None:
    assert explain(gateway, {"model": "m", "messages": "x"})["error"]["param"] == "request.messages"


def test_the_command_tells_the_same(gateway: Gateway, tmp_path: Path) -> None:
    kept(gateway, body_of("by command"))
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body_of("by command", temperature=0.2)))

    said = twicetold("explain", str(file), "--url", gateway.url)
    assert said.returncode == 0, said.stderr
    assert "temperature: 0.2 here, 1 there" in said.stdout
    assert said.stdout.startswith("full: it would be generated (miss)")
    asked = twicetold("explain", "--question", "by command", "--model", "m", "--json", "--url", gateway.url)
    assert json.loads(asked.stdout)["would"]["tier"] == "full"
    response = gateway.post(body_of("by command")).json()["id"]
    assert twicetold("explain", "--response", response, "--url", gateway.url).stdout.startswith("exact: same_request")
    assert twicetold("explain", "--url", gateway.url).returncode == 2
