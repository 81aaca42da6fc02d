"""When an answer may be read, and when it may be kept."""

from typing import Any

import pytest

from backends.chat import ChatRequest, Choice, Completion, Fields
from gateway.controls import Controls
from gateway.identity.canonical import question_of
from gateway.policy import Rules, plan, refuse_to_keep, semantic_refusal

QUESTION = {"role": "user", "content": "What is the capital city of France?"}
HISTORY = ({"role": "user", "content": "Tell me about France."}, {"role": "assistant", "content": "Gladly."})


def refused(*messages: Fields, **params: Any) -> str | None:
    request = ChatRequest("m", messages or (QUESTION,), params)
    return semantic_refusal(request, question_of(request), Rules(), 1.0)


def user(text: str) -> Fields:
    return {"role": "user", "content": text}


REFUSED: dict[str, str | None] = {
    "last_not_user_text": refused(QUESTION, {"role": "assistant", "content": "Paris"}),
    "several_choices": refused(n=2),
    "logprobs": refused(logprobs=True),
    "temperature": refused(temperature=1.5),
    "question_too_long": refused(user("word " * 1000)),
    "tools_called": refused(
        user("What is the capital city of France?"),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        QUESTION,
    ),
    "not_only_text": refused(
        {"role": "user", "content": [{"type": "text", "text": "A lake?"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": "Yes."},
        QUESTION,
    ),
    "only_exact": semantic_refusal(ChatRequest("m", (QUESTION,), native={}), "What?", Rules(), 1.0),
    "volatile": refused(user("What is the weather like in Paris?")),
    "deictic": refused(*HISTORY, user("And what about its capital city?")),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_other_wordings_are_refused_with_a_reason(reason: str) -> None:
    assert REFUSED[reason] == reason


def test_a_call_in_openais_old_spelling_is_one() -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    assert refused(user("What is the capital city of France?"), called, QUESTION) == "tools_called"


def test_a_plain_question_may_be_matched_also_in_a_conversation() -> None:
    assert refused() is None
    assert refused(*HISTORY, QUESTION) is None


def test_a_models_own_default_temperature_counts_when_none_is_given() -> None:
    request = ChatRequest("m", (QUESTION,), {})

    assert semantic_refusal(request, "What is it?", Rules(), 1.5) == "temperature"
    assert semantic_refusal(request, "What is it?", Rules(), 0.0) is None


@pytest.mark.parametrize(
    "text",
    ["What is the latest version?", "Who won yesterday?", "今天天气怎么样？", "What is the exchange rate of the euro?"],
)
def test_questions_about_now_are_not_matched(text: str) -> None:
    assert refused(user(text)) == "volatile"


@pytest.mark.parametrize(
    "text", ["continue", "And the second one?", "Why?", "它有多大？", "Tell me more about that topic please"]
)
def test_questions_that_point_back_are_not_matched(text: str) -> None:
    assert refused(*HISTORY, user(text)) == "deictic"


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
    decided = plan(controls, Rules())

    got = (decided.read_exact, decided.read_semantic, decided.write, decided.share_flight, decided.publish_kv)
    assert got == expected


def test_a_request_with_a_deadline_takes_nobody_along() -> None:
    decided = plan(Controls(), Rules(), has_deadline=True)

    assert not decided.share_flight
    assert decided.read_exact
    assert decided.write


def test_callers_may_tighten_the_threshold_but_not_loosen_it() -> None:
    rules = Rules(min_similarity=0.9)

    assert plan(Controls(min_similarity=0.99), rules).min_similarity == 0.99
    assert plan(Controls(min_similarity=0.1), rules).min_similarity == 0.9


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
    assert plan(Controls(ttl_s=asked), Rules(default_ttl_s=default, max_ttl_s=cap)).ttl_s == ttl


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
