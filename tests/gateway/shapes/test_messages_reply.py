"""An answer as Anthropic's clients read it: a stream spells the same message as one object, whoever answered."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import Choice, Completion, Delta, Usage, collect, replay
from backends.flavours.anthropic.flavour import ANTHROPIC
from backends.flavours.anthropic.reply import MessageReader, parse_message
from backends.flavours.base import Wishes
from gateway.errors import InvalidRequest, ModelNotFound, describe
from gateway.shapes.messages.reply import MessageEnvelope
from gateway.shapes.messages.request import parse_messages
from gateway.shapes.messages.shape import MessagesShape
from tests.gateway.shapes.messages import both, folded, read_events, streamed, whole

USAGE = Usage(10, 4, 6)


def call(number: int, arguments: str, name: str = "") -> dict[str, Any]:
    opening = {"id": f"call_{number}", "type": "function"} if name else {}
    return {"index": number, **opening, "function": {**({"name": name} if name else {}), "arguments": arguments}}


def said(*pieces: dict[str, Any], finish: str = "stop") -> list[Delta]:
    return [*(Delta(fields=piece) for piece in pieces), Delta(finish_reason=finish), Delta(usage=USAGE)]


def test_a_text_is_one_block_and_the_usage_says_what_was_read_from_a_cache() -> None:
    message = both(said({"role": "assistant"}, {"content": "Hel"}, {"content": "lo"}))

    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 6,
            "output_tokens": 4,
        },
    }


def test_thoughts_and_calls_of_tools_are_blocks_in_turn() -> None:
    message = both(
        said(
            {"reasoning_content": "Two "},
            {"reasoning_content": "cities."},
            {"content": "Looking."},
            {"tool_calls": [call(0, "", "weather")]},
            {"tool_calls": [call(0, '{"city": ')]},
            {"tool_calls": [call(0, '"Bern"}')]},
            {"tool_calls": [call(1, "", "time")]},
            finish="tool_calls",
        )
    )

    assert message["content"] == [
        {"type": "thinking", "thinking": "Two cities.", "signature": ""},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Bern"}},
        {"type": "tool_use", "id": "call_1", "name": "time", "input": {}},
    ]
    assert message["stop_reason"] == "tool_use"


def test_calls_that_are_told_at_once_come_one_after_the_other() -> None:
    pieces = [
        [call(0, "", "f")],
        [call(1, "", "g")],
        [call(1, '{"b":')],
        [call(0, '{"a":')],
        [call(1, "2}")],
        [call(0, "1}")],
    ]

    message = both(said(*({"tool_calls": piece} for piece in pieces), finish="stop"))

    assert [block["input"] for block in message["content"]] == [{"a": 1}, {"b": 2}]
    assert message["stop_reason"] == "tool_use"


def test_a_call_begins_when_the_one_before_it_is_whole() -> None:
    envelope = MessageEnvelope("m")
    for piece in (call(0, "", "f"), call(0, '{"a": 1}')):
        envelope.chunk(Delta(fields={"tool_calls": [piece]}))

    begun = read_events(envelope.chunk(Delta(fields={"tool_calls": [call(1, "", "g")]})))

    assert [event["type"] for event in begun] == ["content_block_stop", "content_block_start"]


@pytest.mark.parametrize(
    ("finish", "fields", "reason"),
    [
        ("length", {"content": "a"}, "max_tokens"),
        ("content_filter", {"content": "a"}, "refusal"),
        ("stop", {"refusal": "No."}, "refusal"),
        ("function_call", {"function_call": {"name": "f", "arguments": "{}"}}, "tool_use"),
    ],
)
def test_why_it_ended_is_said_in_their_words(finish: str, fields: dict[str, Any], reason: str) -> None:
    deltas = said(fields, finish=finish)

    assert streamed(deltas)["stop_reason"] == whole(collect(deltas))["stop_reason"] == reason


def test_a_stored_answer_streams_as_it_was() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
    ]
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}]
    fields = {
        "role": "assistant",
        "content": "Hi.",
        "reasoning_content": "Hm.",
        "thinking_blocks": blocks,
        "tool_calls": calls,
    }
    completion = Completion((Choice(fields, "tool_calls"),), USAGE, {"model": "claude"})

    message = streamed(list(replay(completion)))

    assert message == whole(completion)
    assert [block["type"] for block in message["content"]] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert message["model"] == "claude"


# --- from an Anthropic upstream ---

CITATION = {"type": "char_location", "cited_text": "mild", "document_index": 0}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Search.", "signature": "c2ln"},
        {"type": "text", "text": "I look it up."},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "https://e.org"}]},
        {"type": "text", "text": "It is "},
        {"type": "text", "text": "mild", "citations": [CITATION]},
        {"type": "thinking", "thinking": "And now.", "signature": "bW9yZQ=="},
        {"type": "tool_use", "id": "toolu_1", "name": "time", "input": {"city": "Bern"}, "caller": {"type": "direct"}},
    ],
    "stop_reason": "pause_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 11,
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
        "output_tokens_details": {"thinking_tokens": 2},
    },
}


def events_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """As the API streams it."""
    usage = message["usage"]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for index, block in enumerate(message["content"]):
        opening, deltas = block, []
        if block["type"] == "text":
            opening = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": letter} for letter in block["text"]]
            deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        elif block["type"] == "thinking":
            opening = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif "input" in block:
            opening = {**block, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in ("", orjson.dumps(block["input"]).decode())
            ]
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {key: message[key] for key in ("stop_reason", "stop_sequence")}
    return [*events, {"type": "message_delta", "delta": ended, "usage": usage}, {"type": "message_stop"}]


def from_upstream(message: dict[str, Any]) -> list[Delta]:
    reader = MessageReader("claude")
    return [delta for event in events_of(message) for delta in reader.read(orjson.dumps(event))]


def without_id(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "id"}


def sent_back(completion: Completion) -> list[dict[str, Any]]:
    """What an Anthropic upstream is sent of this answer by an Anthropic client who goes on talking."""
    content = whole(completion)["content"]
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "b"},
    ]
    body = {"model": "claude", "max_tokens": 1, "messages": turns}
    written = orjson.loads(ANTHROPIC.write(parse_messages(orjson.dumps(body))[0], Wishes()))
    return next((turn["content"] for turn in written["messages"] if turn["role"] == "assistant"), [])


SEQUENCE = {
    **MESSAGE,
    "content": [{"type": "text", "text": "a"}],
    "stop_reason": "stop_sequence",
    "stop_sequence": "END",
}
PLAIN = {
    **MESSAGE,
    "content": [block for block in MESSAGE["content"] if block["type"] in ("tool_use",)],
    "stop_reason": "tool_use",
}


def test_an_empty_text_between_blocks_is_no_block() -> None:
    empty = {"type": "text", "text": ""}
    blocks = [empty, *({"type": "text", "text": word} for word in ("A", "B")), empty, {"type": "text", "text": "C"}]
    message = {**MESSAGE, "content": blocks, "stop_reason": "end_turn"}

    for said in (streamed(from_upstream(message)), whole(parse_message(orjson.dumps(message), "claude"))):
        assert [block["text"] for block in said["content"]] == ["A", "B", "C"]


@pytest.mark.parametrize("message", [MESSAGE, SEQUENCE, PLAIN])
def test_an_anthropic_upstreams_answer_comes_out_as_it_came_in(message: dict[str, Any]) -> None:
    deltas = from_upstream(message)
    completion = parse_message(orjson.dumps(message), "claude")

    assert streamed(deltas) == without_id(message)
    assert whole(completion) == without_id(message)
    assert whole(collect(deltas)) == without_id(message)
    assert streamed(list(replay(completion))) == without_id(message)


WORDS = st.sampled_from(["", "a", "two words", "é"])
BLOCKS = st.one_of(
    st.builds(lambda said: {"type": "text", "text": said}, WORDS),
    st.builds(lambda said: {"type": "text", "text": said, "citations": [CITATION]}, WORDS),
    st.builds(lambda said: {"type": "thinking", "thinking": said, "signature": "c2ln"}, WORDS),
    st.just({"type": "redacted_thinking", "data": "eA=="}),
    st.builds(lambda said: {"type": "tool_use", "id": "t", "name": "f", "input": {"x": said}}, WORDS),
    st.just({"type": "tool_use", "id": "u", "name": "g", "input": {}}),
    st.builds(lambda said: {"type": "server_tool_use", "id": "s", "name": "h", "input": {"x": said}}, WORDS),
    st.just({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(BLOCKS, max_size=7))
def test_blocks_of_every_kind_in_any_order_come_out_as_they_came_in(blocks: list[dict[str, Any]]) -> None:
    calls = any(block["type"] == "tool_use" for block in blocks)
    message = {**MESSAGE, "content": blocks, "stop_reason": "tool_use" if calls else "end_turn"}
    wanted = {**without_id(message), "content": [block for block in blocks if block != {"type": "text", "text": ""}]}
    deltas = from_upstream(message)
    completion = parse_message(orjson.dumps(message), "claude")
    sent = sent_back(completion)

    assert streamed(deltas) == wanted
    assert whole(completion) == wanted
    assert streamed(list(replay(completion))) == wanted
    assert sent == wanted["content"], "and go back to the upstream as they came"


def test_blocks_of_an_upstream_are_passed_on_as_they_are_made() -> None:
    envelope = MessageEnvelope("m")
    deltas = from_upstream(MESSAGE)
    kinds = [[event["type"] for event in read_events(envelope.chunk(delta))] for delta in deltas]

    assert sum(len(events) for events in kinds if len(events) == 1) > 20, (
        "one event for most deltas, not all at the end"
    )
    assert read_events(envelope.end(USAGE, {}))[0]["type"] == "message_delta", "nothing was left for the end"


def test_a_message_that_others_can_say_is_kept_without_its_blocks() -> None:
    assert "content_blocks" not in parse_message(orjson.dumps(PLAIN), "claude").choices[0].message


# --- errors ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("messages is missing.", "messages"), "invalid_request_error"),
        (ModelNotFound("No."), "not_found_error"),
    ],
)
def test_an_error_has_their_form(error: Any, kind: str) -> None:
    status, body = describe(error)

    assert MessagesShape().error(status, body) == {"type": "error", "error": {"type": kind, "message": error.message}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_clients_exception_goes_by_the_status(status: int, kind: str) -> None:
    (event,) = read_events(MessageEnvelope("m").error_event(status, {"error": {"message": "Oh."}}))

    assert event == {"type": "error", "error": {"type": kind, "message": "Oh."}}


def test_an_empty_answer_is_a_whole_message() -> None:
    message = folded(read_events(MessageEnvelope("m").end(Usage(), {})))

    assert message["content"] == []
    assert message["stop_reason"] == "end_turn"
