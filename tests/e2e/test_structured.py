"""Structured answers and tool calls through the gateway, as the real client sees them: made, streamed and kept."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import psutil
import pytest
from openai import OpenAI
from pydantic import BaseModel, ConfigDict

from tests.backends.local.tiny import build
from tests.e2e.server import Gateway, running_gateway

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How the weather is.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 10}, "days": {"enum": [1, 2, 3]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CHOICE: Any = {"type": "function", "function": {"name": "weather"}}
ODD_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "wat"}}}
UNKNOWN_TOOL = {"type": "function", "function": {"name": "f"}}
FRESH: Any = {"cache": {"no-cache": True, "no-store": True}}


class Verdict(BaseModel):
    """What the demo model is asked to fill in."""

    model_config = ConfigDict(extra="forbid")
    topic: Literal["cache", "engine", "other"]
    is_question: bool
    scores: list[Literal[1, 2, 3]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("demo") / "data", cache__semantic="false") as running:
        running.wait("local")
        yield running


@pytest.fixture(scope="module")
def client(demo: Gateway) -> OpenAI:
    return demo.openai()


def ask(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_model_of_pydantic_is_filled_in_by_the_demo_model(client: OpenAI) -> None:
    completion = client.chat.completions.parse(
        model="demo", messages=ask("What is a cache?"), response_format=Verdict, max_tokens=400, temperature=0
    )

    verdict = completion.choices[0].message.parsed
    assert completion.choices[0].finish_reason == "stop"
    assert isinstance(verdict, Verdict)


def test_a_json_object_is_one_and_is_kept(client: OpenAI) -> None:
    def once() -> Any:
        return client.chat.completions.with_raw_response.create(
            model="demo",
            messages=ask("Say it in JSON."),
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object", "additionalProperties": {"type": "boolean"}}},
            },
            temperature=0,
            max_tokens=300,
        )

    first, again = once(), once()

    text = first.parse().choices[0].message.content
    assert isinstance(json.loads(text), dict)
    assert again.headers["x-twicetold-tier"] == "exact"
    assert again.parse().choices[0].message.content == text


def test_a_forced_call_is_stored_and_replayed_exactly(client: OpenAI) -> None:
    def once(text: str) -> Any:
        return client.chat.completions.with_raw_response.create(
            model="demo", messages=ask(text), tools=[WEATHER], tool_choice=CHOICE, max_tokens=200, temperature=0
        )

    first, again = once("Will it rain in Basel?"), once("Will it rain in Basel?")
    choice, repeated = first.parse().choices[0], again.parse().choices[0]

    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    assert first.headers["x-twicetold-tier"] in ("full", "kv")
    assert again.headers["x-twicetold-tier"] == "exact"
    assert repeated == choice


def test_a_call_streams_in_pieces_and_says_the_same_from_the_cache(client: OpenAI) -> None:
    def stream() -> tuple[list[Any], Any]:
        with client.chat.completions.stream(
            model="demo", messages=ask("Will it snow in Bern?"), tools=[WEATHER], tool_choice="required",
            max_tokens=400, temperature=0, parallel_tool_calls=False,
        ) as events:  # fmt: skip
            chunks = [event.chunk for event in events if event.type == "chunk"]
            return chunks, events.get_final_completion().choices[0]

    chunks, fresh = stream()
    _, kept = stream()
    whole: Any = client.chat.completions.create(
        model="demo", messages=ask("Will it snow in Bern?"), tools=[WEATHER], tool_choice="required",
        max_tokens=400, temperature=0, parallel_tool_calls=False,
    ).choices[0]  # fmt: skip

    pieces = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [piece.id is not None for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert len(pieces) > 2  # how many depends on how the engine's words are taken in turns, a busy machine has fewer
    (call,), (kept_call,), (whole_call,) = (c.message.tool_calls for c in (fresh, kept, whole))
    for other in (kept_call, whole_call):
        assert (other.id, other.function.name) == (call.id, call.function.name)
        assert other.function.arguments == call.function.arguments
    assert fresh.finish_reason == kept.finish_reason == whole.finish_reason == "tool_calls"


def test_a_conversation_goes_on_behind_a_call(client: OpenAI) -> None:
    call = client.chat.completions.create(
        model="demo", messages=ask("Rain?"), tools=[WEATHER], tool_choice=CHOICE, max_tokens=200, temperature=0
    ).choices[0].message  # fmt: skip
    assert call.tool_calls
    messages = [
        *ask("Rain?"),
        call.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "no"},
    ]

    reply = client.chat.completions.create(model="demo", messages=messages, tools=[WEATHER], max_tokens=8)

    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0


def test_several_structured_choices_are_each_what_was_asked(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="demo", messages=ask("Three times?"), n=3, temperature=1, seed=1, max_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": ["a", "b", 3]}}},
        extra_body=FRESH,
    )  # fmt: skip

    assert len(completion.choices) == 3
    assert all(json.loads(choice.message.content or "") in ("a", "b", 3) for choice in completion.choices)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
    ),
    "a keyword nobody enforces": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
        "response_format.json_schema.schema",
    ),
    "a schema nothing meets": (
        {"guided_json": {"type": "integer", "minimum": 5, "maximum": 3}},
        "guided_json",
    ),
    "a schema that is none": ({"guided_json": {"type": "wat"}}, "guided_json"),
    "a schema of a megabyte": ({"guided_json": {"enum": ["x" * 1000 + str(i) for i in range(1000)]}}, "guided_json"),
    "a regex that is none": ({"guided_regex": "(["}, "guided_regex"),
    "parameters": (
        {"tools": [ODD_TOOL], "tool_choice": "required"},
        "tools[0].function.parameters",
    ),
    "no such tool": ({"tools": [WEATHER], "tool_choice": UNKNOWN_TOOL}, "tool_choice"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enforced_is_refused_by_the_name_of_its_field(name: str, demo: Gateway) -> None:
    extra, param = REFUSED[name]
    response = demo.post({"model": "demo", "messages": ask("hi"), **extra})

    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


def test_a_checkpoint_whose_vocabulary_cannot_be_read_fails_these_requests_only(tmp_path: Path) -> None:
    model = build("llama", tmp_path / "tiny")
    with running_gateway(tmp_path / "data", "--model", str(model), cache__semantic="false") as running:
        running.wait("local")
        (model / "tokenizer.json").unlink()
        (child,) = psutil.Process(running.process.pid).children()
        child.kill()
        running.wait("local")
        body = {"model": "tiny", "messages": ask("hi"), "max_tokens": 4, **FRESH}

        broken = running.post({**body, "response_format": {"type": "json_object"}})

        assert broken.status_code == 502
        assert "vocabulary" in broken.json()["error"]["message"]
        assert running.post(body).status_code == 200
