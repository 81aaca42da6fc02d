"""Which requests become one under a key, and which never do."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import ChatRequest, Choice, Completion
from gateway.canonical import fingerprints
from gateway.declared import SettingsError
from gateway.normalise.caution import leans_on_clock, tells
from gateway.normalise.request import MAX_CHARS, Normalised, Normaliser
from gateway.normalise.route import every_rule, route_of
from gateway.settings import NormaliseSettings, load_settings

NOON = "Current time: 2026-06-09 12:00:05"
LATER = "Current time: 2026-06-09 15:31:46"
TOMORROW = "Current time: 2026-06-10 12:00:05"
QUESTION = "What is a block table?"


def asked(system: Any, question: Any = QUESTION, **fields: Any) -> ChatRequest:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": question})
    return ChatRequest("m", fields.pop("messages", messages), fields)


def normalised(request: ChatRequest, **said: Any) -> Normalised:
    return Normaliser([route_of(NormaliseSettings(**said), "normalise[0]")]).of(request, "t", "")


def key(request: ChatRequest, **said: Any) -> bytes:
    return fingerprints(b"s" * 32, b"scope", normalised(request, **said).keyed, {}).exact


@pytest.mark.parametrize("send", [False, True])
def test_two_times_of_one_day_have_one_key_and_two_days_have_two(send: bool) -> None:
    assert key(asked(NOON), send=send) == key(asked(LATER), send=send)
    assert key(asked(NOON), send=send) != key(asked(TOMORROW), send=send)


def test_nothing_is_taken_out_unless_a_route_says_so() -> None:
    request = asked(NOON)
    assert Normaliser().of(request, "t", "").keyed is request
    assert normalised(request, model="gpt-*").keyed is request
    assert normalised(request, tenant="another").keyed is request


def test_the_backend_is_sent_what_came_unless_told_otherwise() -> None:
    assert normalised(asked(NOON)).sent == asked(NOON)
    sent = normalised(asked(NOON), send=True)
    assert sent.sent.messages[0]["content"] == "Current time: 2026-06-09"
    assert sent.keyed == sent.sent  # so two requests are one only where the model cannot tell them apart


def test_a_message_or_part_that_was_a_nonce_alone_is_not_sent_empty() -> None:
    nonce, rest = {"type": "text", "text": "cch=fa690;"}, {"type": "text", "text": "Be brief."}
    assert normalised(asked([nonce, rest]), send=True).sent.messages[0]["content"] == [rest]
    assert [m["role"] for m in normalised(asked("cch=fa690;"), send=True).sent.messages] == ["user"]


def test_the_last_message_of_the_user_is_never_touched() -> None:
    request = asked(NOON, "request_id: req_8f3a9c2b11 is a block table?")
    found = normalised(request, send=True, roles=("user", "system"))
    assert found.sent.messages[-1] == request.messages[-1]


def test_roles_that_are_not_named_are_left_alone() -> None:
    history = (
        {"role": "user", "content": "cch=fa690;"},
        {"role": "assistant", "content": "I see."},
        *asked("").messages,
    )
    assert not normalised(asked("", messages=history)).removals
    assert normalised(asked("", messages=history), roles=("user",)).removals[0].message == 0


@pytest.mark.parametrize(
    "question",
    [
        "What time is it?",
        "Is the shop still open?",
        "How long until noon?",
        "现在几点了",
        [{"type": "text", "text": "And today?"}],
    ],
)
def test_a_question_that_leans_on_the_clock_has_a_key_with_it(question: Any) -> None:
    found = normalised(asked(f"{NOON} cch=fa690;", question))
    assert found.rested == "asks_about_time"
    assert [removal.cut.rule for removal in found.removals] == ["agent_nonces"]
    assert key(asked(NOON, question)) != key(asked(LATER, question))


def test_what_was_asked_of_the_clock_a_turn_ago_counts_for_a_key_too() -> None:
    turns = [("user", "Is the shop open?"), ("assistant", "Yes."), ("user", "And the one next to it?")]
    messages = tuple({"role": role, "content": content} for role, content in [("system", NOON), *turns])
    assert normalised(asked("", messages=messages)).rested == "asks_about_time"


def test_a_request_that_had_nothing_to_take_out_is_another_one() -> None:
    bare = normalised(asked(NOON)).keyed.messages[0]["content"]
    assert key(asked(bare)) != key(asked(NOON))
    assert key(asked(bare), send=True) == key(asked(NOON), send=True)  # here the model is sent the same


def test_two_time_zones_are_two_requests() -> None:
    assert key(asked(NOON + "Z")) != key(asked(LATER + "+02:00"))


def test_more_text_than_is_looked_at_is_left_as_it_is() -> None:
    request = asked(NOON + " " * MAX_CHARS)
    assert normalised(request).keyed is request


CLOCKS = st.sampled_from([NOON, LATER, TOMORROW, "Current time: 2026-06-09", "Current time: ", ""])
WORDS = st.sampled_from(
    ["a", "b", "x-request-id=48af31a2b0", "cch=fa690;", "cch=0aaa9;", "2026-06-09", "(id)", " ", "12:00"]
)
TEXTS = st.tuples(CLOCKS, st.lists(WORDS, max_size=3).map("".join)).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_requests_are_one_only_where_the_volatile_words_alone_differ(one: str, other: str, send: bool) -> None:
    if key(asked(one), send=send) == key(asked(other), send=send):
        left = [normalised(asked(text), send=True).sent.messages for text in (one, other)]
        assert left[0] == left[1]
        if not send:
            assert [cut.rule for cut in normalised(asked(one)).cuts] == [
                cut.rule for cut in normalised(asked(other)).cuts
            ]
    again = normalised(normalised(asked(one), send=True).sent, send=True)
    assert not again.removals


@pytest.mark.parametrize(
    ("answer", "is_told"),
    [
        ("It is a list of blocks.", False),
        ("Your request id is req_8f3a9c2b11.", True),
        ("It is 12:00 now.", True),
        ("Come at 3 pm.", True),
        ("Version 12 of 2026.", False),
    ],
)
def test_an_answer_that_says_what_was_taken_out_is_known(answer: str, is_told: bool) -> None:
    cuts = normalised(asked(f"{NOON} request_id: req_8f3a9c2b11")).cuts
    message: Mapping[str, Any] = {"role": "assistant", "content": answer}
    assert tells(Completion((Choice(message, "stop"),)), cuts) is is_told
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": answer}}]}
    assert tells(Completion((Choice(call, "stop"),)), cuts) is is_told


def test_a_model_that_needs_the_time_is_told_the_time() -> None:
    assert normalised(asked(NOON, "What time is it?"), send=True).sent == asked(NOON, "What time is it?")
    assert normalised(asked(NOON, "And who won today?"), send=True).sent.messages[0]["content"].endswith("2026-06-09")


def test_plain_questions_do_not_lean_on_the_clock() -> None:
    for question in (QUESTION, "Write a haiku about cats.", "Refactor this function.", "法国的首都是哪里"):
        assert not leans_on_clock(question)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"rules": ["clocks"]}, r"normalise\[0\].rules: 'clocks'"),
        ({"roles": ["tool"]}, r"normalise\[0\].roles: 'tool'"),
        ({"clock_to": "week"}, r"normalise\[0\].clock_to"),
        ({"patterns": ["(a"]}, r"normalise\[0\].patterns: pattern 1 is not one of RE2"),
        ({"patterns": [r"(?=a)b"]}, "pattern 1 is not one of RE2"),
        ({"patterns": ["ok", "x*"]}, "pattern 2 matches the empty text"),
    ],
)
def test_a_bad_rule_stops_the_start(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load_settings({"normalise": [said]}, environ={})


def test_patterns_of_the_operator_take_out_what_they_match() -> None:
    found = normalised(asked("é trace=ab12 é"), patterns=[r"trace=[0-9a-f]+ ?"], rules=())
    assert found.keyed.messages[0]["content"] == "é é"


def test_a_pattern_that_would_hang_others_takes_no_time_and_swallows_no_prompt() -> None:
    request = asked("a" * 100_000 + "b", patterns=[])
    assert not normalised(request, rules=(), patterns=[r"(a+)+$", r"(?s).+"]).removals


def test_all_named_rules_read_a_hostile_prompt_to_its_end() -> None:
    for text in ("current time" + " 1" * 50_000, "10:31 " * 30_000, "id: " * 40_000, "today is jan " * 15_000):
        assert not normalised(asked(text), rules=tuple(every_rule())).removals


def test_a_log_is_no_volatile_text() -> None:
    lines = [f"2026-06-09 10:{number % 60:02}:00 request_id: req_8f3a9c{number:03}\n" for number in range(100)]
    assert not normalised(asked("".join(lines))).removals
    assert len(normalised(asked("".join(lines[:30]))).removals) == 30
