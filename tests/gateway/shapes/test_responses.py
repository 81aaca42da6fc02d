"""The Responses API with the official client: its events, its state, and one key with chat for one question."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI

from backends.base import Model
from backends.chat import collect
from backends.errors import BackendUnavailable
from backends.fake import ScriptedBackend, echo
from gateway.errors import InvalidRequest, UnknownResponse
from gateway.native import as_spoken
from gateway.shapes.base import Parsed
from gateway.shapes.chat import ChatShape
from gateway.shapes.follow import Conversations
from gateway.shapes.responses.shape import ResponsesShape
from tests.gateway.house import SECRET
from tests.golden.cases import CASES, said, spelled
from tests.golden.desk import Desk, desk

Json = Any
NEWS = "What is new in the lake?"


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as opened:
        yield opened


@pytest.fixture
def client(counter: Desk) -> AsyncOpenAI:
    return client_of(counter, "t")


def client_of(counter: Desk, key: str) -> AsyncOpenAI:
    through: Any = counter.client
    return AsyncOpenAI(base_url="http://desk/v1", api_key=key, max_retries=0, http_client=through)


def messages_of(backend: ScriptedBackend) -> Json:
    return [dict(message) for message in backend.requests[-1].messages]


def parsed(body: Json) -> Parsed:
    return ResponsesShape().parse(orjson.dumps({"model": "m", **body}))


async def test_the_official_client_streams_what_it_gets_whole(counter: Desk, client: AsyncOpenAI) -> None:
    counter.backend.script = CASES["reasoning"].says
    whole = await client.responses.create(model="scripted", input="Where?")
    async with client.responses.stream(model="scripted", input="Where?") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()

    assert final.output_text == whole.output_text == "By the lake."
    assert [item.type for item in final.output] == [item.type for item in whole.output] == ["reasoning", "message"]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed"
    assert counter.backend.calls == 1


async def test_a_failure_in_the_middle_is_an_error_and_a_failed_response(counter: Desk, client: AsyncOpenAI) -> None:
    counter.backend.script = [*CASES["text"].says[:3], BackendUnavailable("it has gone")]
    stream = await client.responses.create(model="scripted", input="Where?", stream=True)
    *_, error, failed = [event async for event in stream]

    assert error.type == "error"
    assert (error.code, error.message) == ("backend_unavailable", "it has gone")
    assert failed.type == "response.failed"
    assert failed.response.error is not None
    assert failed.response.output_text == "Am Zürich"
    assert [item.status for item in failed.response.output if item.type == "message"] == ["incomplete"]
    assert [event.sequence_number for event in (error, failed)] == [6, 7]


async def test_what_is_asked_in_chat_is_answered_in_a_response(counter: Desk) -> None:
    for case in ("text", "calls", "schema", "json", "logprobs", "picture-by-url", "picture-in-bytes"):
        counter.backend.requests.clear()
        counter.backend.script = CASES[case].says
        for shape in ("chat", "responses"):
            answer = await counter.ask(shape, {"model": "scripted", **CASES[case].asks[shape]}, tenant=case)
            assert answer.status_code == 200, answer.text
        assert counter.backend.calls == 1, case


async def test_pictures_of_other_bytes_are_other_questions(counter: Desk) -> None:
    body: Json = {"model": "scripted", **CASES["picture-in-bytes"].asks["responses"]}
    await counter.ask("responses", body)
    body["input"][0]["content"][1] = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    answer = await counter.ask("responses", body)

    assert answer.headers["x-twicetold-tier"] == "full"


@pytest.mark.parametrize("case", ["picture-by-url", "picture-in-bytes"])
async def test_another_wording_about_a_picture_is_no_hit(counter: Desk, case: str) -> None:
    for shape, asks in CASES[case].asks.items():
        body: Json = {"model": "scripted", **orjson.loads(orjson.dumps(asks))}
        await counter.ask(shape, body, tenant=shape)
        turn = (body.get("input") or body["messages"])[0]
        turn["content"][0]["text"] = "what is this"
        assert (await counter.ask(shape, body, tenant=shape)).headers["x-twicetold-tier"] == "full", shape


async def test_a_response_is_gone_on_from_by_its_id(counter: Desk, client: AsyncOpenAI) -> None:
    counter.backend.script = echo
    first = await client.responses.create(model="scripted", instructions="Be brief.", input="One?")
    async with client.responses.stream(model="scripted", input="Two?", previous_response_id=first.id) as stream:
        second = await stream.get_final_response()
    await client.responses.create(model="scripted", instructions="Be long.", input="3?", previous_response_id=second.id)

    assert messages_of(counter.backend) == [
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "You said: One?"},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "You said: Two?"},
        {"role": "user", "content": "3?"},
    ]
    assert second.previous_response_id == first.id


@pytest.mark.parametrize("case", ["text", "reasoning-and-call", "words-and-call"])
async def test_output_sent_back_and_an_id_named_are_one_question(counter: Desk, client: AsyncOpenAI, case: str) -> None:
    counter.backend.script = CASES[case].says
    first = await client.responses.create(model="scripted", **CASES[case].asks["responses"])
    tail: Json = [{"role": "user", "content": "And then?"}]
    if case != "text":
        tail.insert(0, {"type": "function_call_output", "call_id": "call_0", "output": "rain"})
    await client.responses.create(model="scripted", input=tail, previous_response_id=first.id)
    whole: Json = [{"role": "user", "content": "Where?"}, *first.output, *tail]
    again = await client.responses.with_raw_response.create(model="scripted", input=whole)

    assert again.headers["x-twicetold-tier"] == "exact"


async def test_a_hit_can_be_gone_on_from_too(counter: Desk, client: AsyncOpenAI) -> None:
    counter.backend.script = echo
    await client.responses.create(model="scripted", input="One?")
    hit = await client.responses.create(model="scripted", input="One?")
    await client.responses.create(model="scripted", input="Two?", previous_response_id=hit.id)

    assert len(messages_of(counter.backend)) == 3


async def test_a_response_is_unknown_to_others_after_no_store_and_with_store_false(counter: Desk) -> None:
    counter.backend.script = echo
    mine, theirs = client_of(counter, "mine"), client_of(counter, "theirs")
    kept = await mine.responses.create(model="scripted", input="One?")
    unkept = await mine.responses.create(model="scripted", input="One?", store=False)
    fleeting = await mine.responses.create(model="scripted", input="One?", extra_headers={"cache-control": "no-store"})

    assert (kept.store, unkept.store) == (True, False)  # type: ignore[attr-defined]
    for client, response in ((theirs, kept), (mine, unkept), (mine, fleeting)):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="scripted", input="Two?", previous_response_id=response.id)
        assert refused.value.code == "previous_response_not_found"
        assert refused.value.param == "previous_response_id"


def test_what_follows_something_unknown_is_never_taken_for_a_question_of_its_own() -> None:
    request = parsed({"input": "And?", "previous_response_id": "resp_1"}).request
    with pytest.raises(UnknownResponse):
        as_spoken(request, Model("m", "1"))


def test_conversations_stay_within_their_bytes() -> None:
    kept = Conversations(SECRET, max_bytes=4000, max_bytes_of_tenant=2000)
    one = parsed({"input": "x" * 500})
    for number in range(9):
        kept.note(f"resp_{number}", f"tenant {number % 3}", one, one.request, collected(), 0.0)

    def is_known(number: int) -> bool:
        try:
            kept.resume(parsed({"input": "y", "previous_response_id": f"resp_{number}"}), f"tenant {number % 3}")
        except UnknownResponse:
            return False
        return True

    assert [is_known(number) for number in range(9)] == [False] * 6 + [True] * 3


def collected() -> Json:
    return collect(said(*spelled("a")))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "x", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "tools[1].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": "x", "tools": [{"type": "mcp"}], "tool_choice": {"type": "mcp"}}, "tools[0].type"),
    ],
)
async def test_what_only_a_server_of_this_api_can_do_is_refused_by_name(counter: Desk, body: Json, param: str) -> None:
    answer = await counter.ask("responses", {"model": "scripted", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "text": {"format": 5}}, "text.format"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "messages": []}, "messages"),
        ({"input": "x", "n": 2}, "n"),
        ({"input": "x", "stop": 5}, "stop"),
    ],
)
def test_a_field_that_is_wrong_is_named(body: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(body)
    assert refused.value.param == param


def test_what_a_client_says_is_what_chat_says() -> None:
    function = {"name": "f", "parameters": {}, "strict": True}
    grammar = {"syntax": "lark", "definition": "start: /x/"}
    response = parsed(
        {
            "input": "x",
            "reasoning": {"effort": "low"},
            "text": {"verbosity": "low"},
            "max_output_tokens": 9,
            "tools": [
                {"type": "function", **function},
                {"type": "custom", "name": "c", "format": {"type": "grammar", **grammar}},
            ],
            "tool_choice": {"type": "function", "name": "f"},
        }
    )
    chat = ChatShape().parse(
        orjson.dumps(
            {
                "model": "m",
                "messages": [{"role": "user", "content": "x"}],
                "reasoning_effort": "low",
                "verbosity": "low",
                "max_completion_tokens": 9,
                "tools": [
                    {"type": "function", "function": function},
                    {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": grammar}}},
                ],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            }
        )
    )
    assert response.request == chat.request
