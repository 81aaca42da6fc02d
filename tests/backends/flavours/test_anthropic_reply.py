"""Answers of Anthropic's Messages API as its documentation shows them."""

from typing import Any

import orjson
import pytest

from backends.chat import Completion, Delta, Usage, collect
from backends.errors import BackendBusy, BackendError, BackendGarbage, RequestRejected
from backends.flavours.anthropic.reply import MessageReader, parse_message, read_error

USAGE = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188086,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 188086, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 393,
}


def message(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_013Zva2CMHLNnjNjJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def whole(*content: dict[str, Any], **more: Any) -> Completion:
    return parse_message(orjson.dumps(message(*content, **more)), "there")


def read(*events: dict[str, Any]) -> list[Delta]:
    reader = MessageReader("there")
    return [delta for event in events for delta in reader.read(orjson.dumps(event))]


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def grown(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


STARTED = {"type": "message_start", "message": message(stop_reason=None, usage={**USAGE, "output_tokens": 1})}
STOPPED = {"type": "message_stop"}


def ended(reason: str) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 393, "input_tokens": None}}


TOOLS = (  # "Streaming request with tool use"
    STARTED,
    {"type": "ping"},
    opened(0, type="text", text=""),
    grown(0, type="text_delta", text="Okay"),
    grown(0, type="text_delta", text=", let's check"),
    closed(0),
    opened(1, type="tool_use", id="toolu_01T1x1fJ34qAmk2tNTrN7Up6", name="get_weather", input={}),
    grown(1, type="input_json_delta", partial_json=""),
    grown(1, type="input_json_delta", partial_json='{"location":'),
    grown(1, type="input_json_delta", partial_json='"San Francisco"}'),
    closed(1),
    opened(2, type="tool_use", id="toolu_02", name="now", input={}),
    closed(2),
    ended("tool_use"),
    STOPPED,
)

THOUGHTS = (  # "Streaming request with extended thinking"
    STARTED,
    opened(0, type="thinking", thinking="", signature=""),
    grown(0, type="thinking_delta", thinking="I need to find the GCD"),
    grown(0, type="thinking_delta", thinking=" of 1071 and 462"),
    grown(0, type="signature_delta", signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3h"),
    closed(0),
    opened(1, type="redacted_thinking", data="EmwKAhgBEgy3va3pzix"),
    closed(1),
    opened(2, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    grown(2, type="input_json_delta", partial_json='{"query":"gcd"}'),
    closed(2),
    opened(3, type="text", text=""),
    grown(3, type="text_delta", text="It is 21."),
    grown(3, type="citations_delta", citation={"type": "page_location"}),
    closed(3),
    ended("end_turn"),
    STOPPED,
)


def test_calls_of_tools_are_the_same_streamed_and_whole() -> None:
    same = whole(
        {"type": "text", "text": "Okay, let's check"},
        {
            "type": "tool_use",
            "id": "toolu_01T1x1fJ34qAmk2tNTrN7Up6",
            "name": "get_weather",
            "input": {"location": "San Francisco"},
        },
        {"type": "tool_use", "id": "toolu_02", "name": "now", "input": {}},
        stop_reason="tool_use",
    )

    assert collect(read(*TOOLS)) == same
    assert same.choices[0].finish_reason == "tool_calls"
    assert [call["function"]["arguments"] for call in same.choices[0].message["tool_calls"]] == [
        '{"location":"San Francisco"}',
        "{}",
    ]


def test_thoughts_are_the_same_streamed_and_whole_and_keep_their_signature() -> None:
    thought = "I need to find the GCD of 1071 and 462"
    blocks = [
        {"type": "thinking", "thinking": thought, "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
    ]
    found = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "gcd"}}
    cited = {"type": "text", "text": "It is 21.", "citations": [{"type": "page_location"}]}
    same = whole(*blocks, found, cited)

    assert collect(read(*THOUGHTS)) == same
    assert same.choices[0].message == {
        "role": "assistant",
        "content": "It is 21.",
        "reasoning_content": thought,
        "thinking_blocks": blocks,
        "content_blocks": [*blocks, found, cited],
    }


def test_the_whole_prompt_is_counted_and_told_with_the_first_delta() -> None:
    first, *_, last = read(*TOOLS)

    assert isinstance(first.usage, Usage)
    assert isinstance(last.usage, Usage)
    assert (first.usage.prompt_tokens, first.usage.cached_tokens) == (21 + 188086 + 1000, 1000)
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (21 + 188086 + 1000, 393)
    assert last.usage.extra["cache_read_input_tokens"] == 1000
    assert last.usage == whole({"type": "text", "text": "a"}).usage


def test_who_does_not_count_what_was_cached_is_not_made_to() -> None:
    usage = whole(usage={"input_tokens": 3, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 1}}).usage

    assert usage == Usage(3, 1, extra={"completion_tokens_details": {"reasoning_tokens": 1}})


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_an_end_is_named(reason: str, finish: str) -> None:
    assert whole({"type": "text", "text": "a"}, stop_reason=reason).choices[0].finish_reason == finish
    assert collect(read(STARTED, ended(reason), STOPPED)).choices[0].finish_reason == finish


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": "text"},
        {"type": "message_start", "message": "m"},
        {"type": "message_delta", "delta": None},
    ],
)
def test_an_event_that_is_none_is_garbage(event: dict[str, Any]) -> None:
    with pytest.raises(BackendGarbage):
        read(event)


@pytest.mark.parametrize("wire", [{}, {"content": "text"}, {"content": [1]}, {"content": [{"type": "tool_use"}]}])
def test_a_whole_answer_that_is_none_is_garbage(wire: dict[str, Any]) -> None:
    with pytest.raises(BackendGarbage):
        parse_message(orjson.dumps(wire), "there")


def test_events_of_a_kind_not_known_yet_are_passed_over() -> None:
    assert read({"type": "message_sparkle", "x": 1}) == []


def test_a_message_is_whole_when_it_said_why_it_stopped() -> None:
    reader = MessageReader("there")
    with pytest.raises(BackendGarbage):
        reader.check_whole()
    list(reader.read(orjson.dumps(ended("end_turn"))))

    reader.check_whole()


def test_overload_in_the_middle_is_told_as_what_it_is() -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    with pytest.raises(BackendBusy) as caught:
        read(STARTED, overloaded)
    assert caught.value.retryable
    with pytest.raises(BackendBusy):
        parse_message(orjson.dumps(overloaded), "there")


def test_a_refusal_is_passed_on_in_openais_shape() -> None:
    wire = {"type": "error", "error": {"type": "request_too_large", "message": "Too large"}, "request_id": "req_1"}
    error = read_error(413, {}, orjson.dumps(wire), "there")

    assert isinstance(error, RequestRejected)
    assert error.error == {
        "message": "Too large",
        "type": "request_too_large",
        "param": None,
        "code": "request_too_large",
    }


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>", BackendGarbage),
        (302, b"", BackendGarbage),
        (500, b'{"error": "secret trace"}', BackendError),
        (400, b"[]", RequestRejected),
    ],
)
def test_a_page_that_is_no_error_object_is_named_all_the_same(status: int, body: bytes, kind: type) -> None:
    error = read_error(status, {}, body, "there")

    assert type(error) is kind
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (402, "billing_error", "m"),
        (400, "invalid_request_error", "Your credit balance is too low to access the API."),
    ],
)
def test_an_account_without_credit_is_the_operators_trouble(status: int, kind: str, message: str) -> None:
    error = read_error(status, {}, orjson.dumps({"error": {"type": kind, "message": message}}), "there")

    assert (error.status, error.code, error.retryable) == (502, "upstream_billing", False)
