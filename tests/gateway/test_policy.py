"""When an answer may be read, and when it may be kept."""

from typing import Any

import pytest

from backends.chat import ChatRequest, Choice, Completion, Fields
from gateway.canonical import question_of
from gateway.controls import Controls
from gateway.policy import Plan, Rules, plan, refuse_to_keep

QUESTION = {"role": "user", "content": "What is the capital city of France?"}
HISTORY = ({"role": "user", "content": "Tell me about France."}, {"role": "assistant", "content": "Gladly."})


def planned(*messages: Fields, controls: Controls | None = None, rules: Rules | None = None, **params: Any) -> Plan:
    request = ChatRequest("m", messages or (QUESTION,), params)
    return plan(request, question_of(request), controls or Controls(), rules or Rules(), 1.0)


def user(text: str) -> Fields:
    return {"role": "user", "content": text}


SEMANTIC_REFUSALS: dict[str, Plan] = {
    "last_not_user_text": planned(QUESTION, {"role": "assistant", "content": "Paris"}),
    "several_choices": planned(n=2),
    "logprobs": planned(logprobs=True),
    "temperature": planned(temperature=1.5),
    "question_too_long": planned(user("word " * 1000)),
    "tools_called": planned(
        user("What is the capital city of France?"),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        QUESTION,
    ),
    "volatile": planned(user("What is the weather like in Paris?")),
    "deictic": planned(*HISTORY, user("And what about its capital city?")),
    "off": planned(controls=Controls(tiers=frozenset({"exact"}))),
}


@pytest.mark.parametrize("reason", SEMANTIC_REFUSALS)
def test_other_wordings_are_refused_with_a_reason(reason: str) -> None:
    decided = SEMANTIC_REFUSALS[reason]

    assert decided.semantic_refusal == reason
    assert not decided.read_semantic
    assert decided.read_exact


def test_a_plain_question_may_use_every_tier() -> None:
    decided = planned()

    assert (decided.read_exact, decided.read_semantic, decided.write, decided.share_flight, decided.use_kv) == (
        True,
    ) * 5


def test_a_self_contained_question_in_a_conversation_may_be_matched() -> None:
    assert planned(*HISTORY, QUESTION).read_semantic


@pytest.mark.parametrize(
    "text",
    ["What is the latest version?", "Who won yesterday?", "今天天气怎么样？", "What is the exchange rate of the euro?"],
)
def test_questions_about_now_are_not_matched(text: str) -> None:
    assert planned(user(text)).semantic_refusal == "volatile"


@pytest.mark.parametrize(
    "text", ["continue", "And the second one?", "Why?", "它有多大？", "Tell me more about that topic please"]
)
def test_questions_that_point_back_are_not_matched(text: str) -> None:
    assert planned(*HISTORY, user(text)).semantic_refusal == "deictic"


CONTROLS: dict[str, tuple[Controls, tuple[bool, bool, bool, bool, bool]]] = {
    # read_exact, read_semantic, write, share_flight, publish_kv
    "default": (Controls(), (True, True, True, True, True)),
    "no-cache reads nothing and refreshes": (Controls(no_cache=True), (False, False, True, False, True)),
    "no-store leaves nothing": (Controls(no_store=True), (True, True, False, False, False)),
    "ttl 0 is not kept": (Controls(ttl_s=0), (True, True, False, False, True)),
    "exact only": (Controls(tiers=frozenset({"exact"})), (True, False, True, True, False)),
    "no tier is a cold run": (Controls(tiers=frozenset()), (False, False, False, False, False)),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_callers_narrow_what_is_used(name: str) -> None:
    controls, expected = CONTROLS[name]
    decided = planned(controls=controls)

    got = (decided.read_exact, decided.read_semantic, decided.write, decided.share_flight, decided.publish_kv)
    assert got == expected


def test_callers_may_tighten_the_threshold_but_not_loosen_it() -> None:
    rules = Rules(min_similarity=0.9)

    assert planned(controls=Controls(min_similarity=0.99), rules=rules).min_similarity == 0.99
    assert planned(controls=Controls(min_similarity=0.1), rules=rules).min_similarity == 0.9


@pytest.mark.parametrize(
    ("asked", "default", "cap", "ttl"),
    [
        (None, None, None, None),
        (5.0, None, None, 5.0),
        (None, 7.0, None, 7.0),
        (50.0, 7.0, 10.0, 10.0),
        (None, None, 3.0, 3.0),
    ],
)
def test_a_ttl_is_the_callers_under_the_operators_cap(
    asked: float | None, default: float | None, cap: float | None, ttl: float | None
) -> None:
    assert planned(controls=Controls(ttl_s=asked), rules=Rules(default_ttl_s=default, max_ttl_s=cap)).ttl_s == ttl


def answer(content: Any = "Paris.", finish: str | None = "stop", **message: Any) -> Completion:
    return Completion((Choice({"role": "assistant", "content": content, **message}, finish),))


GATE: dict[str, tuple[Completion, str | None]] = {
    "a whole answer": (answer(), None),
    "tool calls": (answer(None, "tool_calls", tool_calls=[{"id": "1"}]), None),
    "cut by length": (answer(finish="length"), "finish_length"),
    "filtered": (answer(finish="content_filter"), "finish_content_filter"),
    "cut off": (answer(finish=None), "finish_missing"),
    "empty": (answer(""), "empty"),
    "blank": (answer(" \n"), "empty"),
    "nothing": (answer(None), "empty"),
    "refused": (answer(None, refusal="I cannot."), "refused"),
    "no choices": (Completion(()), "no_choices"),
    "one of two is cut": (Completion((answer().choices[0], answer(finish="length").choices[0])), "finish_length"),
}


@pytest.mark.parametrize("name", GATE)
def test_the_write_gate(name: str) -> None:
    completion, refusal = GATE[name]

    assert refuse_to_keep(completion) == refusal
