"""Why a request would hit or miss: what differs, which guard fired, and nothing is touched by asking."""

from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest
from gateway.cli.explain_text import rendered, rendered_response
from gateway.controls import Controls
from gateway.explain import Explainer, explain_served, nearest
from gateway.identity.differences import differences, likeness, shared
from gateway.policy import Rules
from tests.gateway.house import House, house, read

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"
NUMBERED = "How many of the 12 months have 31 days?"

SYSTEM = {"role": "system", "content": "You answer briefly."}
USER = {"role": "user", "content": "hello"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look_up", "description": "Finds a thing."}}


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": [SYSTEM, USER], "temperature": 1, **fields}


def tool(**fields: Any) -> dict[str, Any]:
    return {**TOOL, "function": {**TOOL["function"], **fields}}


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        (body(temperature=0.7), body(), ["temperature: 0.7 here, 1 there"]),
        (body(seed=5), body(), ["seed: 5 here, nothing there"]),
        (body(), body(stop=["x"]), ['stop: nothing here, ["x"] there']),
        (body(logprobs=True), body(logprobs=1), ["logprobs: true here, 1 there"]),
        (
            body(messages=[{**SYSTEM, "content": "You answer slowly."}, USER]),
            body(),
            ['system message differs at character 12: "You answer slowly." here, "You answer briefly." there'],
        ),
        (body(messages=[USER]), body(messages=[USER, SYSTEM]), ["1 messages here, 2 there"]),
        (
            body(messages=[SYSTEM, {**USER, "role": "assistant"}]),
            body(),
            ["message 2 is the assistant's here, the user's there"],
        ),
        (
            body(messages=[SYSTEM, {**USER, "name": "Ann"}]),
            body(),
            ['last message (user).name: "Ann" here, nothing there'],
        ),
        (body(tools=[TOOL]), body(), ["tools: look_up only here"]),
        (body(tools=[TOOL, tool(name="other")]), body(tools=[TOOL]), ["tools: other only here"]),
        (body(tools=[TOOL, tool(name="b")]), body(tools=[tool(name="b"), TOOL]), ["tools: in another order"]),
        (
            body(tools=[tool(description="Finds.")]),
            body(tools=[TOOL]),
            ['tools: look_up.function.description: "Finds." here, "Finds a thing." there'],
        ),
        (
            body(response_format={"type": "json_schema", "json_schema": {"schema": {"required": ["a", "b"]}}}),
            body(response_format={"type": "json_schema", "json_schema": {"schema": {"required": ["a", "c"]}}}),
            ['response_format.json_schema.schema.required[1]: "b" here, "c" there'],
        ),
        (body(), body(), []),
    ],
)
def test_what_keeps_two_requests_apart_is_said_in_words(
    here: dict[str, Any], there: dict[str, Any], said: list[str]
) -> None:
    assert [difference.text for difference in differences(here, there)] == said


def test_long_texts_are_shown_around_the_place_where_they_part() -> None:
    here, there = (body(messages=[{**SYSTEM, "content": "x" * 500 + end + "y" * 500}, USER]) for end in "ab")
    (difference,) = differences(here, there)

    assert difference.text.startswith("system message differs at character 501: ")
    assert len(difference.text) < 150


def test_the_nearest_has_the_fewest_fields_apart_then_the_most_text_in_common() -> None:
    here = b'{"messages":[{"content":"a long question","role":"user"}],"temperature":1}'
    rows = [
        ("two fields", b'{"messages":[{"content":"a long answer","role":"user"}],"temperature":0}'),
        ("far", b'{"messages":[{"content":"something else","role":"user"}],"temperature":1}'),
        ("near", b'{"messages":[{"content":"a long quest","role":"user"}],"temperature":1}'),
    ]
    found = nearest(here, rows)

    assert found is not None
    assert found.entry == "near"
    assert nearest(here, []) is None


@pytest.mark.parametrize(
    ("a", "b", "length"), [("", "", 0), ("abc", "abd", 2), ("abc", "abc", 3), ("abc", "abcd", 3), ("x", "y", 0)]
)
def test_the_shared_start_is_found_by_halving(a: str, b: str, length: int) -> None:
    assert shared(a, b) == length
    assert likeness(a.encode(), a.encode()) == (1.0 if a else 0.0)


async def explained(gateway: House, text: str, rules: Controls | None = None, **params: Any) -> dict[str, Any]:
    explainer = Explainer(gateway.pipeline, gateway.answers, gateway.semantic)
    request = ChatRequest("scripted", ({"role": "user", "content": text},), params)
    told = (await explainer.explain(request, "t", "", rules or Controls())).as_json()
    assert rendered(told)
    return told


async def test_a_semantic_hit_is_explained_with_its_candidates(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        first, _ = await gateway.chat(QUESTION)
        await gateway.pipeline.close()
        told = await explained(gateway, REWORDED)

        assert told["would"] == {"tier": "semantic", "reason": "same_question", "entry": first.entry}
        (candidate,) = told["semantic"]["candidates"]
        assert (candidate["question"], candidate["refusal"]) == (QUESTION, None)
        assert candidate["probability"] >= told["semantic"]["threshold"]
        assert gateway.backend.calls == 1


async def test_the_guard_that_fired_is_named(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(NUMBERED)
        await gateway.pipeline.close()
        told = await explained(gateway, NUMBERED.replace("31", "30"))

        assert told["would"]["tier"] == "full"
        assert [one["refusal"] for one in told["semantic"]["candidates"]] == ["guard_numbers"]
        assert told["exact"]["nearest"]["differences"][0]["text"].startswith("last message (user) differs at character")


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"text": "What is the weather today?"}, "volatile"),
        ({"text": QUESTION, "n": 2}, "several_choices"),
        ({"text": QUESTION, "logprobs": True}, "logprobs"),
        ({"text": QUESTION, "rules": Controls(tiers=frozenset({"exact"}))}, "tier_off"),
    ],
)
async def test_why_other_words_are_not_looked_for_is_said(tmp_path: Path, wishes: dict[str, Any], reason: str) -> None:
    async with house(tmp_path) as gateway:
        told = await explained(gateway, **wishes)

        assert told["semantic"]["reason"] == reason


async def test_a_tier_that_is_off_is_said_to_be(tmp_path: Path) -> None:
    async with house(tmp_path, rules=Rules(mode="off")) as gateway:
        assert (await explained(gateway, QUESTION))["semantic"]["mode"] == "off"


async def test_asking_why_is_no_use_of_what_is_found(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION)
        await gateway.pipeline.close()
        before = gateway.metrics.render()
        for text in (QUESTION, REWORDED, "Something nobody asked"):
            await explained(gateway, text)

        assert gateway.metrics.render() == before
        assert gateway.backend.calls == 1


async def test_a_semantic_hit_is_explained_afterwards(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION)
        await gateway.pipeline.close()
        reply = await gateway.ask(REWORDED)
        await read(reply)
        told = explain_served("r1", reply.served)

        assert (told["tier"], told["question"], told["stored_question"]) == ("semantic", REWORDED, QUESTION)
        assert told["semantic"]["candidates"][0]["entry"] == reply.outcome.entry
        assert rendered_response(told).startswith("semantic: same_question")
