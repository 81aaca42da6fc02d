"""A chat request in the words of Anthropic's Messages API, and where its prompt is marked to be kept."""

import itertools
import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backends.chat import ChatRequest
from backends.errors import RequestRejected
from backends.flavours.anthropic.flavour import ANTHROPIC
from backends.flavours.base import Wishes

CLAUDE = "claude-sonnet-4-5-20250929"
MARK = {"type": "ephemeral"}
WEATHER = {"name": "weather", "description": "Tell it.", "parameters": {"type": "object", "properties": {"c": {}}}}
TOOL = {"type": "function", "function": WEATHER}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(name: str, arguments: str = "{}", id: str = "call_1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def body(*messages: dict[str, Any], use_kv: bool = False, model: str = CLAUDE, **params: Any) -> dict[str, Any]:
    request = ChatRequest(model, messages or (user("hi"),), params, use_kv=use_kv)
    written: dict[str, Any] = orjson.loads(ANTHROPIC.write(request, Wishes()))
    return written


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


# --- turns ---


def test_a_question_alone() -> None:
    assert body(user("hi")) == {
        "model": CLAUDE,
        "stream": False,
        "messages": [{"role": "user", "content": [text("hi")]}],
        "max_tokens": 8192,
    }


def test_what_system_and_developer_say_stands_above_the_turns() -> None:
    said = body(
        {"role": "system", "content": "Be brief."}, user("a"), {"role": "developer", "content": [text("Rhyme.")]}
    )

    assert said["system"] == [text("Be brief."), text("Rhyme.")]
    assert [turn["role"] for turn in said["messages"]] == ["user"]


def test_one_sides_messages_are_one_turn_and_empty_ones_none() -> None:
    said = body(user("a"), user("b"), assistant(""), assistant(None), user([text(" "), text("c")]))

    assert said["messages"] == [{"role": "user", "content": [text("a"), text("b"), text("c")]}]


def test_calls_and_results_of_tools_go_both_ways() -> None:
    said = body(
        user("weather?"),
        assistant("Looking.", tool_calls=[call("weather", '{"c": "Zürich"}'), call("time", "", id="x.y:2")]),
        {"role": "tool", "tool_call_id": "call_1", "content": "mild"},
        {"role": "tool", "tool_call_id": "x.y:2", "content": [text("noon")]},
        user("and?"),
    )["messages"]

    assert said[1]["content"] == [
        text("Looking."),
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"c": "Zürich"}},
        {"type": "tool_use", "id": said[2]["content"][1]["tool_use_id"], "name": "time", "input": {}},
    ]
    assert said[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [text("mild")]},
            {"type": "tool_result", "tool_use_id": said[1]["content"][2]["id"], "content": [text("noon")]},
            text("and?"),
        ],
    }


def test_ids_of_calls_are_what_the_api_takes_and_no_two_become_one() -> None:
    ids = ["a.b", "a:b", "a_b", "", "é" * 200, "é" * 201, "x" * 64]
    said = body(user("a"), assistant(None, tool_calls=[call("f", id=id) for id in ids]))["messages"]
    used = [block["id"] for block in said[1]["content"]]

    assert len({*used}) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", id) for id in used)
    assert (used[2], used[6]) == ("a_b", "x" * 64)


def test_who_speaks_is_said_in_the_text() -> None:
    said = body(
        {"role": "system", "content": "Chat.", "name": "host"}, {**user([text("hi")]), "name": "ann"}, user("a")
    )

    assert said["system"] == [text("host:"), text("Chat.")]
    assert said["messages"][0]["content"] == [text("ann:"), text("hi"), text("a")]


@pytest.mark.parametrize("use_kv", [True, False])
@pytest.mark.parametrize("own", ["You are a cat.", [text("You are a cat.")]])
def test_the_apis_own_system_stands_above_the_messages_of_that_role(own: Any, use_kv: bool) -> None:
    written = body({"role": "system", "content": "Purr."}, user("hi"), system=own, use_kv=use_kv)["system"]

    assert [block["text"] for block in written] == ["You are a cat.", "Purr."]


def test_thoughts_go_back_as_they_came_before_what_was_said() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    said = body(user("a"), assistant("b", reasoning_content="hm", thinking_blocks=[thought]), user("c"))

    assert said["messages"][1]["content"] == [thought, text("b")]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
        ),
        (
            {"type": "document", "source": {"type": "text", "data": "d"}},
            {"type": "document", "source": {"type": "text", "data": "d"}},
        ),
    ],
)
def test_pictures_and_files(part: dict[str, Any], block: dict[str, Any]) -> None:
    assert body(user([part]))["messages"][0]["content"] == [block]


# --- fields ---


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": 9, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"max_tokens": 10192}),
        ({"temperature": 1.7}, {"temperature": 1}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5, "top_k": 3}, {"top_p": 0.5, "top_k": 3}),
        ({"stop": "X"}, {"stop_sequences": ["X"]}),
        ({"stop": ["X", "\n"]}, {"stop_sequences": ["X"]}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"vendor_knob": 1}, {"vendor_knob": 1}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
    ],
)
def test_a_field_is_said_in_its_words(params: dict[str, Any], said: dict[str, Any]) -> None:
    assert said.items() <= body(**params).items()


SAMPLED = {"temperature": 0.5, "top_k": 3}


@pytest.mark.parametrize(
    ("model", "sampling", "max_tokens"),
    [
        ("claude-3-haiku-20240307", SAMPLED, 4096),
        ("claude-2.1", SAMPLED, 4096),
        ("claude-3-5-sonnet-latest", SAMPLED, 8192),
        ("claude-opus-4-20250514", SAMPLED, 8192),
        ("anthropic/claude-opus-4.6", SAMPLED, 8192),
        ("claude-opus-4-7", {}, 16384),
        ("claude-haiku-5-5", {}, 16384),
        ("claude-opus-5", {}, 16384),
        ("claude-mythos-preview", {}, 16384),
        ("kimi-k3", SAMPLED, 8192),
    ],
)
def test_a_model_is_sent_what_it_takes(model: str, sampling: dict[str, Any], max_tokens: int) -> None:
    written = body(model=model, temperature=0.5, top_p=0.9, top_k=3)

    assert {key: written[key] for key in ("temperature", "top_p", "top_k") if key in written} == sampling
    assert written["max_tokens"] == max_tokens


def test_what_steers_only_openai_is_left_out() -> None:
    params: dict[str, Any] = {
        "seed": 1, "presence_penalty": 0.5, "logit_bias": {"1": 2}, "store": True, "n": 1, "logprobs": False,
        "stream_options": {"include_usage": True}, "prompt_cache_key": "k", "metadata": {"a": "b"}, "stop": None,
    }  # fmt: skip

    assert body(**params) == body()


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_the_api_cannot_do_is_refused_by_name(params: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        body(**params)

    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize(
    "message",
    [
        user([{"type": "input_audio", "input_audio": {}}]),
        user([{"type": "image_url", "image_url": {}}]),
        user([{"type": "image_url", "image_url": "data:text/plain,hi"}]),
        user(["text"]),
        assistant(None, tool_calls=[call("f", "{")]),
        assistant(None, tool_calls=[call("f", "[1]")]),
        assistant(None, tool_calls=["f"]),
        assistant(None, tool_calls=5),
        assistant(None, thinking_blocks=["t"]),
        user(5),
        {"role": "function", "name": "f", "content": "x"},
    ],
)
def test_a_message_it_cannot_carry_is_the_callers_fault(message: dict[str, Any]) -> None:
    with pytest.raises(RequestRejected):
        body(message)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, said: dict[str, Any]) -> None:
    written = body(tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}], tool_choice=choice)

    assert written["tool_choice"] == said
    assert written["tools"] == [
        {"name": "weather", "description": "Tell it.", "input_schema": WEATHER["parameters"]},
        {"type": "web_search_20250305", "name": "web_search"},
    ]


def test_calls_one_at_a_time() -> None:
    one = body(tools=[TOOL], parallel_tool_calls=False)
    none = body(tools=[TOOL], parallel_tool_calls=False, tool_choice="none")

    assert one["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert none["tool_choice"] == {"type": "none"}


# --- marks ---


def marks(written: dict[str, Any]) -> list[str]:
    """Where the marks are, as `part/number of block`."""
    parts = {"tools": written.get("tools", []), "system": written.get("system", [])}
    parts |= {f"turn {i}": turn["content"] for i, turn in enumerate(written["messages"])}
    return [f"{name}/{i}" for name, blocks in parts.items() for i, b in enumerate(blocks) if "cache_control" in b]


SYSTEM = {"role": "system", "content": [text("a"), text("b")]}
TURNS = (user("1"), assistant("2"), user("3"), assistant("4"), user("5"))


def test_a_conversation_is_marked_four_times_where_it_stays_the_same() -> None:
    written = body(SYSTEM, *TURNS, use_kv=True, tools=[TOOL, TOOL])

    assert marks(written) == ["tools/1", "system/1", "turn 2/0", "turn 4/0"]
    assert written["system"][1]["cache_control"] == MARK


def test_the_next_request_finds_the_mark_of_the_last() -> None:
    first, second = body(*TURNS, use_kv=True), body(*TURNS, assistant("6"), user("7"), use_kv=True)

    assert marks(first)[-1] in marks(second)


def test_a_first_question_is_not_marked_itself() -> None:
    assert marks(body(SYSTEM, user("1"), use_kv=True)) == ["system/1"]


def test_results_of_tools_are_marked_and_thoughts_are_not() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "mild"}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    written = body(user("1"), assistant(None, tool_calls=[call("f")], thinking_blocks=[thinking]), result, use_kv=True)

    assert marks(written) == ["turn 0/0", "turn 2/0"]
    assert written["messages"][2]["content"][0]["cache_control"] == MARK


@pytest.mark.parametrize(
    "mine",
    [
        {"messages": [user([text("long", cache_control={"type": "ephemeral", "ttl": "1h"})]), *TURNS[1:]]},
        {"messages": [{**user("long"), "cache_control": MARK}, *TURNS[1:]]},
        {"messages": [{**SYSTEM, "cache_control": MARK}, *TURNS]},
        {"messages": TURNS, "tools": [{**TOOL, "cache_control": MARK}]},
        {"messages": TURNS, "cache_control": MARK},
    ],
)
def test_who_marks_anything_himself_marks_everything(mine: dict[str, Any]) -> None:
    messages, params = mine["messages"], {key: value for key, value in mine.items() if key != "messages"}
    marked, unmarked = body(*messages, use_kv=True, **params), body(*messages, use_kv=False, **params)

    assert marked == unmarked
    assert len(marks(marked)) == ("cache_control" not in params)


def test_a_cold_run_is_not_marked() -> None:
    assert marks(body(SYSTEM, *TURNS, use_kv=False)) == []


SAID = st.one_of(
    st.sampled_from(["", " ", "a"]), st.lists(st.sampled_from([text("a"), text(""), text("b")]), max_size=3)
)
SAYING = st.one_of(
    st.builds(lambda role, content: {"role": role, "content": content}, st.sampled_from(["system", "user"]), SAID),
    st.builds(lambda content: assistant(content, tool_calls=[call("f")]), SAID),
    st.builds(lambda content: {"role": "tool", "tool_call_id": "call_1", "content": content}, SAID),
    st.just(assistant(None, thinking_blocks=[{"type": "thinking", "thinking": "t", "signature": "s"}])),
)


@given(st.lists(SAYING, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_is_said_has_at_most_four_marks_and_turns_that_take_turns(
    said: list[dict[str, Any]], has_tools: bool
) -> None:
    written = body(*said, use_kv=True, tools=[TOOL] if has_tools else None)
    roles = [turn["role"] for turn in written["messages"]]

    assert len(marks(written)) <= 4
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert all(turn["content"] for turn in written["messages"])
    assert not any("thinking" in b and "cache_control" in b for t in written["messages"] for b in t["content"])


# --- odd requests ---

IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}


@pytest.mark.parametrize(
    ("messages", "params", "param"),
    [
        ((), {"system": 5}, "system"),
        ((), {"system": {"a": 1}}, "system"),
        ((), {"system": ["x"]}, "system"),
        ((), {"reasoning_effort": {"a": 1}}, "reasoning_effort"),
        ((), {"reasoning_effort": "extreme"}, "reasoning_effort"),
        ((), {"stop": [5]}, "stop"),
        ((), {"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ((), {"tools": ["x"]}, "tools"),
        ((), {"response_format": "json"}, "response_format"),
        ((user("a"), assistant("b", thinking_blocks=[1])), {}, "messages[1].thinking_blocks"),
        ((user("a"), assistant("b", tool_calls=3)), {}, "messages[1].tool_calls"),
        ((user("a"), {"role": "tool", "content": "b"}), {}, "messages[1].tool_call_id"),
        ((user("a"), {**user("b"), "name": ["x"]}), {}, "messages[1].name"),
        ((user(7),), {}, "messages[0].content"),
        (({"role": "system", "content": [text("a"), IMAGE]}, user("a")), {}, "messages[0].content"),
    ],
)
def test_what_is_odd_is_refused_by_the_name_of_its_field(messages: Any, params: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        body(*messages, **params)

    assert (caught.value.param, caught.value.status) == (param, 400)


WORDS = [
    "type", "text", "refusal", "image_url", "url", "file", "file_data", "image", "function", "name", "arguments", "id",
    "thinking", "budget_tokens", "json_schema", "schema", "cache_control", "auto", "none", "x.y", "{}", "", "tool_use",
    "data:image/png;base64,aGk=", "tool_result", "content", "low",
]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.sampled_from([0, 1, -5, 2**63, 0.5]) | st.sampled_from(WORDS)
ODD = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
)
ODD_PARAMS = st.dictionaries(
    st.sampled_from([
        "system", "tools", "tool_choice", "parallel_tool_calls", "stop", "user", "service_tier", "reasoning_effort",
        "response_format", "output_config", "thinking", "max_tokens", "max_completion_tokens", "temperature", "top_p",
        "top_k", "n", "logprobs", "functions", "audio", "modalities", "cache_control", "metadata", "prediction",
    ]),
    ODD, max_size=3,
)  # fmt: skip
ODD_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
        optional=dict.fromkeys(
            ["content", "name", "tool_calls", "thinking_blocks", "tool_call_id", "cache_control"], ODD
        ),
    ),
    max_size=3,
)


@given(ODD_MESSAGES, ODD_PARAMS, st.booleans())
@example([{"role": "system", "content": [{"name": "a part without a type"}]}], {}, False)
@settings(max_examples=120, deadline=None)
def test_an_odd_request_is_written_or_refused_by_the_name_of_a_field(
    messages: list[dict[str, Any]], params: dict[str, Any], use_kv: bool
) -> None:
    refusal = None
    try:
        body(*messages, use_kv=use_kv, **params)
    except RequestRejected as error:
        refusal = error

    assert refusal is None or refusal.param
