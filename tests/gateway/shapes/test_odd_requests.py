"""Whatever is sent to any shape, it is answered or refused by name: never a 500."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.base import Model
from backends.chat import ChatRequest
from backends.errors import BackendError
from backends.fake import ScriptedBackend
from backends.flavours import FLAVOURS
from backends.flavours.base import Wishes
from gateway.app import SHAPES
from gateway.errors import GatewayError
from tests.golden.desk import Desk, desk

LEAVES = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 0.5, 2**63, 1e308])
    | st.sampled_from(["", "a", "\ud83c", "user", "function", "data:image/png;base64,xx", '{"a":1}', "grün\u0301"])
)
NAMES = [
    "type",
    "role",
    "content",
    "text",
    "name",
    "id",
    "input",
    "call_id",
    "format",
    "tokens",
    "image_url",
    "function",
]
ODD = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
)


def maybe(**fields: Any) -> Any:
    """An object with some of the fields, each as it should be or odd."""
    return st.fixed_dictionaries({}, optional={name: right | ODD for name, right in fields.items()})


def kinds(*names: str) -> Any:
    return st.sampled_from(names)


TEXT = st.sampled_from(["Where?", "", "你好"])
PART = maybe(
    type=kinds(
        "text",
        "input_text",
        "output_text",
        "refusal",
        "image_url",
        "input_image",
        "input_file",
        "input_audio",
        "image",
        "tool_use",
        "tool_result",
        "thinking",
        "document",
        "summary_text",
        "reasoning_text",
    ),
    text=TEXT,
    refusal=TEXT,
    image_url=TEXT | maybe(url=TEXT),
    source=maybe(type=kinds("url", "base64"), url=TEXT, data=TEXT),
    id=TEXT,
    name=TEXT,
    input=maybe(),
    tool_use_id=TEXT,
    content=TEXT,
    thinking=TEXT,
    signature=TEXT,
    file_data=TEXT,
)
CONTENT = TEXT | st.lists(PART, max_size=3)
CALL = maybe(
    id=TEXT, type=kinds("function", "custom"), function=maybe(name=TEXT, arguments=TEXT), custom=maybe(input=TEXT)
)
MESSAGE = maybe(role=kinds("user", "assistant", "system", "tool", "prompt"), content=CONTENT, tool_calls=st.lists(CALL))
ITEM = maybe(
    type=kinds(
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
        "item_reference",
        "web_search_call",
        "of_next_year",
    ),
    role=kinds("user", "assistant", "developer"),
    content=CONTENT,
    call_id=TEXT,
    name=TEXT,
    arguments=TEXT,
    input=TEXT,
    output=CONTENT,
    summary=st.lists(PART, max_size=1),
    encrypted_content=TEXT,
    id=TEXT,
    status=TEXT,
)
TOOL = maybe(
    type=kinds("function", "custom", "web_search", "mcp"),
    name=TEXT,
    parameters=maybe(),
    function=maybe(name=TEXT),
    input_schema=maybe(type=kinds("object")),
    format=maybe(type=kinds("grammar", "text")),
    description=TEXT,
    strict=st.booleans(),
)
COMMON: dict[str, Any] = {
    "stream": st.booleans(),
    "temperature": st.just(0),
    "n": st.just(2),
    "stop": TEXT,
    "logprobs": kinds("a"),
    "top_logprobs": st.just(2),
    "seed": st.just(1),
    "tools": st.lists(TOOL, max_size=2),
    "metadata": maybe(user_id=TEXT),
    "tool_choice": kinds("auto", "none") | maybe(type=kinds("function", "allowed_tools", "tool", "any"), name=TEXT),
    "response_format": maybe(type=kinds("json_schema", "json_object"), json_schema=maybe(name=TEXT, schema=maybe())),
    "cache": maybe(ttl=st.just(1), tags=st.lists(TEXT)),
    "cache_salt": TEXT,
    "user": TEXT,
    "messages": st.lists(MESSAGE),
    "stream_options": maybe(include_usage=st.booleans()),
    "model": st.just("scripted"),
    "prompt_cache_key": TEXT,
}
FIELDS: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": st.lists(MESSAGE, min_size=1, max_size=3),
        "prediction": maybe(type=st.just("content"), content=CONTENT),
    },
    "completions": {
        "prompt": TEXT | st.lists(TEXT, max_size=2) | st.lists(st.integers(0, 9), max_size=3),
        "suffix": TEXT,
        "echo": st.booleans(),
        "best_of": st.just(1),
        "logprobs": st.just(1),
    },
    "responses": {
        "input": TEXT | st.lists(ITEM, max_size=3),
        "instructions": TEXT,
        "previous_response_id": TEXT,
        "store": st.booleans(),
        "text": maybe(format=maybe(type=kinds("json_schema", "text"), name=TEXT, schema=maybe()), verbosity=TEXT),
        "reasoning": maybe(effort=TEXT, summary=TEXT),
        "include": st.lists(TEXT, max_size=1),
        "max_output_tokens": st.just(5),
        "conversation": TEXT,
        "prompt": maybe(id=TEXT, version=TEXT),
        "background": st.booleans(),
        "truncation": kinds("auto", "disabled"),
    },
    "messages": {
        "messages": st.lists(MESSAGE, min_size=1, max_size=3),
        "system": CONTENT,
        "max_tokens": st.just(5),
        "stop_sequences": st.lists(TEXT),
        "thinking": maybe(type=kinds("enabled", "adaptive"), budget_tokens=st.just(1024)),
        "output_config": maybe(format=maybe()),
    },
}


def bodies(route: str) -> Any:
    """Bodies that have what they must have, mostly, and anything in the other places."""
    fields = {**COMMON, **FIELDS[route]}
    needed = {"chat": "messages", "completions": "prompt", "responses": "input", "messages": "messages"}[route]
    must = {"model": st.just("scripted"), needed: fields[needed] | ODD}
    must |= {"max_tokens": st.just(5)} if route == "messages" else {}
    others = {name: right | ODD for name, right in fields.items() if name not in must}
    return st.fixed_dictionaries(must, optional=others) | maybe(**fields) | ODD


class NativeBackend(ScriptedBackend):
    """Takes the bodies of the Responses API as they are, so what chat cannot say reaches it, too."""

    def model(self, name: str) -> Model:
        return replace(super().model(name), speaks_responses=True)


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, list[Desk]]]:
    with asyncio.Runner() as runner:
        backends = (ScriptedBackend(), NativeBackend())
        openings = [desk(tmp_path_factory.mktemp("odd"), backend) for backend in backends]
        yield runner, [runner.run(opening.__aenter__()) for opening in openings]
        for opening in openings:
            runner.run(opening.__aexit__(None, None, None))


def spelled(body: Any) -> bytes:
    """As JSON, half a surrogate pair too."""
    return json.dumps(body).encode()


@pytest.mark.parametrize("route", sorted(FIELDS))
@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_an_odd_request_is_answered_or_refused(
    counters: tuple[asyncio.Runner, list[Desk]], route: str, data: st.DataObject
) -> None:
    runner, desks = counters
    opened = desks[data.draw(st.integers(0, 1))]
    response = runner.run(opened.ask(route, spelled(data.draw(bodies(route)))))
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert orjson.loads(response.content)["error"]["message"]


@pytest.mark.parametrize("route", sorted(FIELDS))
@given(st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_what_is_read_can_be_written_for_every_kind_of_server_or_is_refused(route: str, data: st.DataObject) -> None:
    shape = next(shape for shape in SHAPES.values() if shape.route == route)
    try:
        request = shape.parse(spelled(data.draw(bodies(route)))).request
    except GatewayError:
        return
    assert isinstance(request, ChatRequest)
    for flavour in FLAVOURS.values():
        api = flavour if request.prompt is None else flavour.completions
        if api is not None:
            try:
                assert orjson.loads(api.write(request, Wishes()))["model"] == "scripted"
            except BackendError:
                continue
