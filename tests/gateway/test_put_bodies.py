"""Whatever is put is an answer or is refused."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import Completion, replay
from gateway.errors import InvalidRequest
from gateway.native import native_name
from gateway.policy import refuse_to_keep
from gateway.routes.cache import PutBody, answered
from gateway.shapes.base import Parsed
from gateway.shapes.chat import ChatShape
from gateway.wire import parse_chat

ASKED = parse_chat(b'{"model": "m", "messages": [{"role": "user", "content": "?"}]}')

scalars = st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner))
NAMES = st.sampled_from(["message", "finish_reason", "index", "logprobs", "content", "tool_calls", "role", "refusal"])
messages = st.dictionaries(NAMES, values, max_size=4)
choices = st.lists(
    st.fixed_dictionaries({}, optional={"message": messages | values, "finish_reason": values}), max_size=2
)
wires = st.fixed_dictionaries({}, optional={"choices": choices | values, "usage": values, "error": values, "x": values})


def put(**body: Any) -> Completion:
    return answered(PutBody(request={}, **body))


@settings(max_examples=60, deadline=None)
@given(wires)
def test_an_answer_is_read_so_that_it_can_be_given_or_it_is_refused(wire: dict[str, Any]) -> None:
    try:
        completion = put(response=wire)
    except InvalidRequest:
        return
    if refuse_to_keep(completion) is None:
        envelope = ChatShape().envelope(Parsed(*ASKED))
        assert orjson.loads(envelope.completion(completion, completion.usage))["choices"]
        assert b"".join(envelope.chunk(delta) for delta in replay(completion))


@pytest.mark.parametrize("body", [{}, {"answer": "a", "response": {"choices": []}}])
def test_an_answer_is_given_in_one_way(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="either response"):
        put(**body)


def test_an_answer_may_be_a_text_alone() -> None:
    assert put(answer="Paris.").text == "Paris."


def test_an_answer_says_nothing_that_only_its_server_may_say() -> None:
    """A name in `response_event` would be sealed for whoever put it, and lead to another's conversation there."""
    event = {"type": "response.completed", "response": {"id": "resp_of_another", "output": []}}
    wire = {"choices": [{"message": {"role": "assistant", "content": "p"}, "finish_reason": "stop"}]}
    completion = put(response={**wire, "response_event": event, "id": "x", "created": 1, "system_fingerprint": "f"})
    assert native_name(next(replay(completion))) is None
    assert completion.extra == {"system_fingerprint": "f"}


def call(**function: Any) -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", **function}}]


MALFORMED: dict[str, dict[str, Any]] = {
    "message": {"role": "user"},
    "message.tool_calls": {"tool_calls": call(arguments=None)},
    "message.function_call": {"function_call": {"name": "f"}},
    "message.content_blocks": {"content_blocks": [{"type": "text", "text": "another answer"}]},
    "message.thinking_blocks": {"thinking_blocks": [{"type": "thinking", "thinking": "t"}]},
}


@pytest.mark.parametrize("field", MALFORMED)
def test_an_answer_is_one_message_of_the_assistant_with_well_formed_calls(field: str) -> None:
    message = {"role": "assistant", "content": "a"}
    good: dict[str, Any] = {"choices": [{"message": {**message, "tool_calls": call()}, "finish_reason": "stop"}]}
    assert put(response=good).choices[0].message["tool_calls"] == call()
    with pytest.raises(InvalidRequest) as refusal:
        put(response={"choices": [{"message": {**message, **MALFORMED[field]}, "finish_reason": "stop"}]})
    assert refusal.value.param == f"response.choices[0].{field}"


def test_counts_and_log_probabilities_are_some() -> None:
    choice = {"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    for odd in (
        {"choices": [{**choice, "logprobs": {"content": 5}}]},
        {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": "x"}}},
    ):
        with pytest.raises(InvalidRequest):
            put(response=odd)
