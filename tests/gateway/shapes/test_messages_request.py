"""A message request in the chat vocabulary: in OpenAI's words where it has some, and nothing of the rest is lost."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import ChatRequest
from backends.errors import RequestRejected
from backends.flavours.anthropic.flavour import ANTHROPIC
from backends.flavours.base import Wishes
from backends.flavours.openai import OPENAI
from backends.plain import plain
from gateway.errors import InvalidRequest
from gateway.shapes.messages.request import parse_messages
from gateway.shapes.messages.shape import MAX_BETAS, MessagesShape

CLAUDE = "claude-sonnet-4-5-20250929"
MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
LINKED = {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PAPER = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "It is 7."},
    "title": "Sums",
}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def used(id: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "weather", "input": given}


def thought(said: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": said, "signature": "c2lnbmVk"}


def parse(*turns: Any, **fields: Any) -> ChatRequest:
    body = {"model": CLAUDE, "max_tokens": 100, "messages": turns or [user(text("hi"))], **fields}
    return parse_messages(orjson.dumps(body))[0]


EVERYTHING: dict[str, Any] = {
    "model": CLAUDE,
    "max_tokens": 4096,
    "stream": False,
    "system": [text("You are brief."), text("You know Zürich.", **MARK)],
    "messages": [
        user(PICTURE, {**LINKED, **MARK}, PAPER, text("What is this, and the weather?")),
        assistant(
            thought("Two questions."), text("Looking."), used("toolu_01", city="Zürich"), used("toolu_02", n=1.5)
        ),
        user(
            {"type": "tool_result", "tool_use_id": "toolu_01", "content": [text("mild"), PICTURE], **MARK},
            {"type": "tool_result", "tool_use_id": "toolu_02", "content": [text("no such city")], "is_error": True},
            text("Go on.", **MARK),
        ),
        assistant(
            text("I search."),
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "https://e.org"}]},
            thought("Found."),
            text("Mild.", citations=[{"type": "web_search_result_location", "cited_text": "mild"}]),
            used("toolu_03"),
        ),
        user({"type": "tool_result", "tool_use_id": "toolu_03"}, text("Thanks?")),
    ],
    "tools": [
        {"name": "weather", "description": "Tell it.", "input_schema": SCHEMA, "input_examples": [{"city": "Bern"}]},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, **MARK},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "stop_sequences": ["\n\nHuman:"],
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "metadata": {"user_id": "user-7"},
    "service_tier": "auto",
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "container": "container_1",
}


def test_what_an_anthropic_client_says_to_an_anthropic_upstream_arrives_as_it_was_said() -> None:
    request, _ = parse_messages(orjson.dumps(EVERYTHING))

    assert orjson.loads(ANTHROPIC.write(request, Wishes())) == EVERYTHING


def test_a_client_that_marks_nothing_gets_our_marks() -> None:
    request = parse(user(text("a")), assistant(text("b")), user(text("c")), system="Be brief.")

    assert orjson.loads(ANTHROPIC.write(request, Wishes()))["system"] == [
        text("Be brief.", cache_control={"type": "ephemeral"})
    ]


def test_betas_are_of_the_request_and_go_where_the_upstream_looks_for_them() -> None:
    request = MessagesShape().with_headers(
        parse(), {"anthropic-beta": "context-1m-2025-08-07, interleaved-thinking-2025-05-14"}
    )
    many = MessagesShape().with_headers(parse(), {"anthropic-beta": "b," * 1000})
    odd = MessagesShape().with_headers(parse(), {"anthropic-beta": "a\tb,ok"})

    assert request.params["anthropic_beta"] == ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"]
    assert ANTHROPIC.headers_of(request)["anthropic-beta"] == "context-1m-2025-08-07,interleaved-thinking-2025-05-14"
    assert "anthropic_beta" not in orjson.loads(ANTHROPIC.write(request, Wishes()))
    assert len(many.params["anthropic_beta"]) == MAX_BETAS
    assert ANTHROPIC.headers_of(odd) == {"anthropic-beta": "ok"}
    assert ANTHROPIC.headers_of(parse()) == {}


def test_the_same_question_is_the_same_request_in_openais_words() -> None:
    request = parse(
        {"role": "user", "content": "hi"}, system=[text("Be brief.")], temperature=0, stop_sequences=["END"]
    )

    assert request.messages == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})
    assert request.params == {"max_tokens": 100, "temperature": 0, "stop": ["END"]}


def test_tools_and_their_results_are_said_as_openai_says_them() -> None:
    request = parse(
        user(text("weather?")),
        assistant(text("Looking."), used("toolu_1", city="Bern")),
        user({"type": "tool_result", "tool_use_id": "toolu_1", "content": "mild"}),
        tools=[{"name": "weather", "input_schema": SCHEMA}],
        tool_choice={"type": "any"},
    )

    assert request.messages[1]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
    ]
    assert request.messages[2] == {"role": "tool", "tool_call_id": "toolu_1", "content": "mild"}
    assert request.params["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    assert request.params["tool_choice"] == "required"


def test_a_server_that_knows_openais_words_only_gets_those() -> None:
    body = {key: value for key, value in EVERYTHING.items() if key not in ("container", "tools", "tool_choice")}
    turns = [*body["messages"][:3]]
    request = plain(parse_messages(orjson.dumps({**body, "messages": turns, "service_tier": "standard_only"}))[0])
    said = orjson.loads(OPENAI.write(request, Wishes()))

    assert [message["role"] for message in said["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "user",
    ]
    assert said["messages"][0]["content"] == [text("You are brief."), text("You know Zürich.")]
    assert [part["type"] for part in said["messages"][1]["content"]] == [
        "image_url",
        "image_url",
        "text",
        "text",
        "text",
    ]
    assert said["messages"][1]["content"][0]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert said["messages"][2].keys() == {"role", "content", "tool_calls"}
    assert said["messages"][3] == {"role": "tool", "tool_call_id": "toolu_01", "content": "mild"}
    assert [part["type"] for part in said["messages"][5]["content"]] == ["image_url"]
    assert said["reasoning_effort"] == "low"
    assert said["response_format"]["json_schema"]["schema"] == SCHEMA
    assert said["service_tier"] == "default"
    assert not {"thinking", "output_config", "cache_control", "metadata", "system"} & said.keys()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"url": "https://e.org"}]}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"messages": [user({"type": "container_upload", "file_id": "f"})]}, "messages[0].content"),
        ({"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]}, "messages[0].content"),
    ],
)
def test_what_only_anthropic_can_do_is_refused_elsewhere_by_name(fields: dict[str, Any], param: str) -> None:
    body = {"model": "gpt", "max_tokens": 1, "messages": [user(text("hi"))], **fields}
    with pytest.raises(RequestRejected) as refusal:
        plain(parse_messages(orjson.dumps(body))[0])

    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [user({"text": "x"})]}, "messages[0].content"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content"),
        ({"messages": [user(used("t"))]}, "messages[0]"),
        ({"messages": [user({"type": "tool_result", "content": "x"})]}, "messages[0].content"),
        ({"messages": [user({"type": "tool_result", "tool_use_id": "t", "content": [{}]})]}, "messages[0].content"),
        ({"messages": [assistant({"type": "tool_use", "id": "t", "name": "n", "input": "{}"})]}, "messages[0].content"),
        ({"messages": [user({"type": "image", "source": {"type": "base64"}})]}, "messages[0].content"),
        ({"system": [PICTURE]}, "system"),
        ({"tools": [{"name": "x"}]}, "tools"),
        ({"tools": [{"name": "x", "input_schema": {}}], "tool_choice": {"type": "some"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"temperature": "hot"}, "temperature"),
        ({"cache_salt": ""}, "cache_salt"),
        ({"n": {"of": "openai"}}, "n"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_the_name_of_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse(**{"messages": [user(text("hi"))], **fields})

    assert (refusal.value.param or "").startswith(param)


NAMES = ("id", "name", "input", "source", "data", "media_type", "content", "tool_use_id", "signature", "title", "role")
KINDS = ("type", "text", "image", "base64", "url", "document", "tool_use", "tool_result", "thinking", "user")
WORDS = st.sampled_from((*NAMES, *KINDS))
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": ODD | st.lists(ODD)})),
    st.dictionaries(st.sampled_from(["system", "tools", "tool_choice", "output_config", "metadata"]), ODD, max_size=2),
)
def test_an_odd_body_is_read_or_refused_and_so_is_what_becomes_of_it(turns: Any, fields: dict[str, Any]) -> None:
    try:
        request, _ = parse_messages(orjson.dumps({"model": CLAUDE, "messages": turns, **fields}))
    except InvalidRequest:
        return
    refusals = []
    for write in (ANTHROPIC.write, OPENAI.write):
        try:
            write(request, Wishes())
        except RequestRejected as refusal:
            refusals.append(refusal.param)

    assert all(refusals)
