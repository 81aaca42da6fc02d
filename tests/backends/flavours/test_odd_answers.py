"""Whatever a server sends, a caller gets an answer that can be read, or a `BackendError`."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import ChatRequest, Collector
from backends.errors import BackendError
from backends.flavours import FLAVOURS
from gateway.shapes.chat import ChatEnvelope

WORDS = [
    *("", "0", "stop", "text", "tool_use", "thinking", "text_delta", "input_json_delta", "end_turn", "assistant"),
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "error"),
]
NAMES = [
    *(
        "type",
        "index",
        "id",
        "name",
        "text",
        "role",
        "content",
        "message",
        "delta",
        "choices",
        "finish_reason",
        "usage",
    ),
    *("error", "tool_calls", "function", "arguments", "input", "partial_json", "thinking", "content_block", "logprobs"),
    *("stop_reason", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "input_tokens"),
    *("timings", "cache_n", "total_tokens", "content_filter_results", "model", "code"),
]
LEAVES = st.none() | st.booleans() | st.sampled_from([0, 1, -5, 2**63, 0.5, 500]) | st.sampled_from(WORDS)
ODD = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
)


def maybe(**fields: Any) -> Any:
    """An object with some of the fields, each as it should be or odd."""
    return st.fixed_dictionaries({}, optional={name: right | ODD for name, right in fields.items()})


TEXT = st.sampled_from(["a", ""])
CALL = maybe(index=st.sampled_from([0, 1]), id=TEXT, function=maybe(name=TEXT, arguments=TEXT))
SAID = maybe(role=TEXT, content=TEXT, tool_calls=st.lists(CALL, max_size=2), reasoning_content=TEXT)
CHOICE = maybe(index=st.just(0), delta=SAID, message=SAID, finish_reason=st.just("stop"), logprobs=maybe(content=ODD))
CHUNK = maybe(choices=st.lists(CHOICE, max_size=2), usage=maybe(prompt_tokens=st.just(3)), timings=maybe(), model=TEXT)
BLOCK = maybe(type=st.sampled_from(["text", "tool_use", "thinking"]), text=TEXT, id=TEXT, name=TEXT, input=maybe())
PIECE = maybe(type=st.sampled_from(["text_delta", "thinking_delta", "input_json_delta"]), text=TEXT, stop_reason=TEXT)
EVENT = maybe(
    type=st.sampled_from(WORDS[10:]),
    index=st.just(0),
    content_block=BLOCK,
    message=maybe(usage=ODD),
    content=st.lists(BLOCK),
    delta=PIECE,
)


@pytest.mark.parametrize("flavour", ["azure", "anthropic", "llamacpp"])
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_an_odd_answer_is_read_or_refused(flavour: str, data: st.DataObject) -> None:
    spoken, collector = FLAVOURS[flavour], Collector()
    payloads = [
        orjson.dumps(one) for one in data.draw(st.lists((EVENT if flavour == "anthropic" else CHUNK) | ODD, max_size=3))
    ]
    reader, envelope = spoken.reader("there", ChatRequest("m", ())), ChatEnvelope("m", include_usage=True)
    try:
        for payload in payloads:
            for delta in reader.read(payload):
                envelope.chunk(delta)
                collector.add(delta)
    except BackendError:
        pass
    streamed = collector.completion()
    assert envelope.completion(streamed, streamed.usage)

    for payload in payloads:
        try:
            whole = spoken.read_whole(payload, "there")
        except BackendError:
            continue
        assert envelope.completion(whole, whole.usage)
        assert isinstance(spoken.read_error(400, {}, payload, "there"), BackendError)
