"""What only a server of the Responses API can do goes to one, comes back as it was said, and is kept."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from backends.chat import ChatRequest
from backends.flavours import FLAVOURS
from backends.flavours.base import Wishes
from backends.upstream import UpstreamBackend
from gateway.aside import CacheAside
from gateway.body import Curfew
from gateway.callers.keys import Keys
from gateway.forgotten import Forgotten
from gateway.routes.cache import CacheDesk, cache_routes
from gateway.routes.intake import Intake
from gateway.served import ServedMemory
from gateway.shapes.responses.shape import ResponsesShape
from tests.gateway.house import SECRET
from tests.golden.desk import Desk, desk
from tests.golden.folding import events, folded
from tests.upstream import RunningUpstream, running_upstream

Json = Any
SEARCH = {"model": "m", "input": "News?", "tools": [{"type": "web_search"}]}


def response(body: Json) -> Json:
    """What a server says: a search, and what it found, with a citation."""
    cited = {"type": "url_citation", "url": "https://lake.test", "title": "Lake", "start_index": 0, "end_index": 4}
    text = {"type": "output_text", "text": f"Waves for {body.get('previous_response_id')}", "annotations": [cited]}
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3, "total_tokens": 12}
    return {
        "id": "resp_there_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "model": body["model"],
        "output": [
            {
                "id": "ws_1",
                "type": "web_search_call",
                "status": "completed",
                "action": {"type": "search", "query": "n"},
            },
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{**text, "logprobs": []}],
            },
        ],
        "previous_response_id": body.get("previous_response_id"),
        "tools": body.get("tools", []),
        "usage": usage,
    }


def spoken(body: Json) -> list[Json]:
    """The events of it."""
    whole = response(body)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    search, message = whole["output"]
    part = message["content"][0]
    said: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**search, "status": "in_progress"}},
        {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"},
        {"type": "response.output_item.done", "output_index": 0, "item": search},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "content": []}},
        {"type": "response.content_part.added", "output_index": 1, "content_index": 0, "part": {**part, "text": ""}},
        *(
            {
                "type": "response.output_text.delta",
                "output_index": 1,
                "content_index": 0,
                "delta": piece,
                "logprobs": [],
            }
            for piece in (part["text"][:3], part["text"][3:])
        ),
        {"type": "response.content_part.done", "output_index": 1, "content_index": 0, "part": part},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": "response.completed", "response": whole},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(said)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
async def counter(tmp_path: Path, upstream: RunningUpstream) -> AsyncIterator[Desk]:
    upstream.control(reset=True)
    upstream.app.responses = spoken
    async with desk(tmp_path, UpstreamBackend("up", upstream.base_url, model_names=["m"])) as opened:
        yield opened


def apart(answer: Json) -> Json:
    return {name: value for name, value in answer.items() if name not in ("id", "created_at")}


def of(answer: httpx.Response) -> tuple[Json, str]:
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    return folded("responses", answer) if is_stream else answer.json(), answer.headers["x-twicetold-tier"]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_search_is_passed_on_and_replayed_in_both_forms(
    counter: Desk, upstream: RunningUpstream, streams: bool
) -> None:
    answers = [
        of(await counter.ask("responses", {**SEARCH, "stream": stream})) for stream in (streams, streams, not streams)
    ]

    wanted = apart(response(SEARCH))
    assert [apart(answer) for answer, _ in answers] == [wanted] * 3
    assert [tier for _, tier in answers] == ["full" if streams else "kv", "exact", "exact"]  # of a stream not known yet
    assert len({answer["id"] for answer, _ in answers}) == 3
    assert upstream.counters()["requests"] == 1
    assert upstream.app.received[-1] == {**SEARCH, "stream": streams}


async def test_its_events_are_those_the_server_said(counter: Desk) -> None:
    live = events(await counter.ask("responses", {**SEARCH, "stream": True}))
    assert [event["type"] for event in live] == [event["type"] for event in spoken(SEARCH)]
    assert {event["response"]["id"] for event in live if "response" in event} == {live[0]["response"]["id"]}


async def test_a_response_is_gone_on_from_where_it_is_kept_and_by_its_tenant_alone(
    counter: Desk, upstream: RunningUpstream
) -> None:
    first, hit = [(await counter.ask("responses", SEARCH)).json() for _ in range(2)]
    for named in (first, hit):
        body = {"model": "m", "input": "And?", "previous_response_id": named["id"]}
        answer = await counter.ask("responses", body)
        assert answer.json()["output"][1]["content"][0]["text"] == "Waves for resp_there_1"
        assert answer.json()["previous_response_id"] == named["id"]
        theirs = await counter.ask("responses", body, tenant="other")
        assert theirs.json()["error"]["code"] == "previous_response_not_found"

    assert [body.get("previous_response_id") for body in upstream.app.received] == [None, "resp_there_1"]


async def test_a_lookup_tells_nobody_what_a_server_calls_a_response(counter: Desk) -> None:
    await counter.ask("responses", SEARCH)
    app, served = FastAPI(), ServedMemory()
    aside, intake = (
        CacheAside(counter.home.pipeline, served, counter.home.ledger, Forgotten()),
        Intake(Keys(SECRET, ()), 1 << 20, Curfew()),
    )
    app.include_router(
        cache_routes(CacheDesk(aside, counter.home.ledger, {"responses": ResponsesShape()}, intake, True))
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gw") as http:
        asked = {"request": SEARCH, "shape": "responses"}
        looked = await http.post("/v1/cache/lookup", json=asked, headers={"authorization": "Bearer t"})

    assert looked.json()["hit"]
    assert "resp_there_1" not in looked.text


async def test_an_id_that_we_have_not_named_is_refused(counter: Desk, upstream: RunningUpstream) -> None:
    answer = await counter.ask("responses", {"model": "m", "input": "And?", "previous_response_id": "resp_there_1"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "previous_response_id")
    assert upstream.counters()["requests"] == 0


async def test_a_conversation_that_a_server_adds_to_is_asked_every_time(
    counter: Desk, upstream: RunningUpstream
) -> None:
    body = {"model": "m", "input": "And?", "conversation": "conv_1"}
    tiers = [(await counter.ask("responses", body)).headers["x-twicetold-tier"] for _ in range(2)]
    assert tiers == ["kv", "kv"]
    assert upstream.app.received[-1]["conversation"] == "conv_1"


NO_MESSAGE: list[Json] = [
    {"input": [{"type": "item_reference", "id": "x"}]},
    {"input": [{"type": "item_reference", "id": "y"}]},
    {"input": [{"type": "of_next_year"}]},
    {"prompt": {"id": "p"}},
    {"prompt": {"id": "p", "version": "2"}},
]


async def test_what_holds_no_message_that_chat_knows_is_the_servers_and_has_a_key_of_its_own(
    counter: Desk, upstream: RunningUpstream
) -> None:
    for body in NO_MESSAGE:
        for tier, stream in (("kv", False), ("exact", False), ("exact", True)):
            answer = await counter.ask("responses", {"model": "m", **body, "stream": stream})
            assert (answer.status_code, answer.headers["x-twicetold-tier"]) == (200, tier), body
    assert list(upstream.app.received) == [{"model": "m", **body, "stream": False} for body in NO_MESSAGE]

    conversation = await counter.ask("responses", {"model": "m", "conversation": "conv_1"})
    assert conversation.json()["output"][1]["type"] == "message"


async def test_what_holds_no_message_is_refused_by_name_where_no_server_knows_the_api(
    counter: Desk, upstream: RunningUpstream
) -> None:
    upstream.app.responses = None
    for body in (*NO_MESSAGE, {"conversation": "conv_1"}):
        answer = await counter.ask("responses", {"model": "m", **body})
        named = "input[0].type" if "input" in body else next(iter(body))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, named)


async def test_a_server_without_the_api_is_asked_in_chat_where_chat_can_say_it(
    counter: Desk, upstream: RunningUpstream
) -> None:
    upstream.app.responses = None
    body = {"model": "m", "input": "Why?", "reasoning": {"effort": "low", "summary": "auto"}}
    first = of(await counter.ask("responses", body))
    again = of(await counter.ask("responses", {**body, "stream": True}))
    refused = await counter.ask("responses", SEARCH)

    assert first[0]["output_text"] if "output_text" in first[0] else first[0]["output"][0]["content"][0]["text"]
    assert again[0]["output"][0]["content"] == first[0]["output"][0]["content"]
    assert upstream.app.received[-1]["reasoning_effort"] == "low"
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools[0].type")


async def test_a_response_that_fails_is_an_error_and_not_kept(counter: Desk, upstream: RunningUpstream) -> None:
    failed = {"type": "response.failed", "sequence_number": 1}
    whole = {**response(SEARCH), "status": "failed", "error": {"code": "server_error", "message": "no"}}
    upstream.app.responses = lambda body: [spoken(body)[0], {**failed, "response": whole}]

    assert (await counter.ask("responses", SEARCH)).status_code == 502
    streamed = events(await counter.ask("responses", {**SEARCH, "stream": True}))
    assert [event["type"] for event in streamed] == ["response.created", "error"]


def test_an_engine_is_told_the_salt_of_the_tenant_here_too() -> None:
    api = FLAVOURS["vllm"].responses
    assert api is not None
    request = ChatRequest("m", (), kv_salt="t", native={"input": "x"}, stream=True)
    body = orjson.loads(api.write(request, Wishes()))

    assert body.pop("cache_salt")
    assert body == {"model": "m", "input": "x", "stream": True}
