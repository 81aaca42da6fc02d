"""Whatever a server says, every shape can write it, whole and streamed, or it was refused before."""

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import ChatRequest, Choice, Collector, Completion, Delta, replay
from backends.errors import BackendError
from backends.flavours import FLAVOURS
from backends.flavours.base import Api, Flavour
from backends.flavours.responses import EVENT as EVENT_NAME
from gateway.app import SHAPES
from gateway.shapes.base import Envelope, Parsed, Shape
from tests.backends.flavours.test_odd_answers import CHUNK, ODD, TEXT, maybe

BODIES: dict[str, Any] = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "completions": {"prompt": "x"},
    "responses": {"input": "x"},
    "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
}
PART = maybe(type=st.sampled_from(["output_text", "refusal"]), text=TEXT, annotations=st.just([]), logprobs=st.just([]))
ITEM = maybe(
    type=st.sampled_from(["message", "function_call", "custom_tool_call", "reasoning", "web_search_call"]),
    id=TEXT, call_id=TEXT, name=TEXT, arguments=TEXT, content=st.lists(PART, max_size=2), status=TEXT,
)  # fmt: skip
RESPONSE = maybe(
    id=TEXT,
    status=st.sampled_from(["completed", "incomplete"]),
    output=st.lists(ITEM, max_size=2),
    usage=maybe(input_tokens=st.just(3)),
)
EVENT = maybe(
    type=st.sampled_from(
        ["response.created", "response.output_item.done", "response.output_text.delta", "response.completed", "error"]
    ),
    response=RESPONSE,
    item=ITEM,
    delta=TEXT,
    sequence_number=st.just(1),
)


def parsed(route: str, name: str = "") -> tuple[Shape, Parsed]:
    shape = next(shape for shape in SHAPES.values() if shape.route == route)
    return shape, Parsed(ChatRequest("m", ()), {"model": "m", **BODIES[route]}, include_usage=True, name=name)


def envelope(route: str, name: str = "") -> Envelope:
    shape, body = parsed(route, name)
    return shape.envelope(body)


def read(api: Api | Flavour, payloads: list[bytes]) -> tuple[list[list[Delta]], list[Completion]]:
    """The streams and the whole answers that can be read."""
    deltas: list[Delta] = []
    wholes: list[Completion] = []
    reader = api.reader("there", ChatRequest("m", ()))
    try:
        for payload in payloads:
            deltas += reader.read(payload)
    except BackendError:
        pass
    for payload in payloads:
        try:
            wholes.append(api.read_whole(payload, "there"))
        except BackendError:
            continue
    collector = Collector()
    for delta in deltas:
        collector.add(delta)
    if deltas:
        wholes.append(collector.completion())
    return [deltas, *(list(replay(whole)) for whole in wholes)], wholes


def written(route: str, streams: list[list[Delta]], wholes: list[Completion], name: str = "") -> None:
    for stream in streams:
        one = envelope(route, name)
        pieces = [one.start(), *map(one.chunk, stream)]
        usage = next((delta.usage for delta in reversed(stream) if delta.usage), None)
        extra = stream[-1].extra if stream else {}
        pieces += [one.end(usage or Collector().completion().usage, extra), one.error_event(500, {"error": {}})]
        for line in b"".join(pieces).splitlines():
            if line.startswith(b"data: {"):
                orjson.loads(line[6:])
    for whole in wholes:
        assert isinstance(orjson.loads(envelope(route, name).completion(whole, whole.usage)), dict)


@pytest.mark.parametrize("route", sorted(BODIES))
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_read_of_an_odd_answer_is_written(route: str, data: st.DataObject) -> None:
    payloads = [orjson.dumps(one) for one in data.draw(st.lists(CHUNK | ODD, max_size=3))]
    api = FLAVOURS["openai"].completions if route == "completions" else FLAVOURS["openai"]
    assert api is not None
    written(route, *read(api, payloads))


@given(st.lists(EVENT | RESPONSE | ODD, max_size=3))
@settings(max_examples=50, deadline=None)
def test_what_is_read_of_an_odd_response_is_written(said: list[Any]) -> None:
    api = FLAVOURS["openai"].responses
    assert api is not None
    streams, wholes = read(api, [orjson.dumps(one) for one in said])
    for stream in itertools.islice(streams, 1, None):  # replayed: begun by the last word
        written("responses", [stream], [], "resp_ours")
    written("responses", streams[:1], wholes, "resp_ours")


@pytest.mark.parametrize(
    "event",
    [
        {"response": {}},
        {"type": "response.completed"},
        {"type": "response.completed", "response": {"output": 5}},
        {"type": "response.completed", "response": {"output": [7, {"type": "message", "content": [8]}]}},
        {
            "type": "response.completed",
            "response": {"output": [{"type": "message", "content": [{"type": "output_text", "annotations": 5}]}]},
        },
    ],
)
def test_a_stored_response_of_odd_output_is_told_again(event: dict[str, Any]) -> None:
    completion = Completion((Choice({"role": "assistant", "content": "a"}, "stop"),), extra={EVENT_NAME: event})
    written("responses", [list(replay(completion))], [completion], "resp_ours")
