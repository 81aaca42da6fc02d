"""Which requests become one under a key, and which never do."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.chat import ChatRequest, Choice, Completion
from gateway.identity.canonical import fingerprints
from gateway.normalise.caution import tells
from gateway.normalise.request import MAX_CHARS, Normalised, Normaliser
from gateway.normalise.route import every_rule, route_of
from gateway.settings import NormaliseSettings, load_settings
from gateway.settings.declared import SettingsError

NOON = "Current time: 2026-06-09 12:00:05"
NOON_TOO = "Current time: 2026-06-09 12:00:51"
LATER = "Current time: 2026-06-09 15:31:46"
TOMORROW = "Current time: 2026-06-10 12:00:05"
QUESTION = "What is a block table?"
DAY: dict[str, Any] = {"send": True, "clock_to": "day"}


def asked(system: Any, question: Any = QUESTION, **fields: Any) -> ChatRequest:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": question})
    return ChatRequest("m", fields.pop("messages", messages), fields)


def normalised(request: ChatRequest, **said: Any) -> Normalised:
    return Normaliser([route_of(NormaliseSettings(**said), "normalise[0]")]).of(request, "t", "")


def key(request: ChatRequest, **said: Any) -> bytes:
    return fingerprints(b"s" * 32, b"scope", normalised(request, **said).keyed, {}).exact


def test_an_answer_serves_for_its_minute_and_for_its_day_only_where_the_model_reads_no_more() -> None:
    for send in (False, True):
        assert key(asked(NOON), send=send) == key(asked(NOON_TOO), send=send) != key(asked(LATER), send=send)
    assert key(asked(NOON), **DAY) == key(asked(LATER), **DAY) != key(asked(TOMORROW), **DAY)


@pytest.mark.parametrize(
    ("system", "question"),
    [
        ("", "Wie spät ist es?"),
        ("", "Quelle heure est-il ?"),
        ("", "今何時ですか"),
        ("", "現在幾點"),
        ("Staff are here 8-17; outside say leave a message.", "Connect me to a human please."),
        ("", "Can I order a pizza?"),
        ("", "Which train do I catch?"),
        ("", "Should I take my medicine?"),
    ],
)
@pytest.mark.parametrize(
    "said", [{}, {"send": True}, {"send": True, "clock_to": "hour"}, {"send": True, "clock_to": "day"}]
)
def test_what_the_clock_may_matter_to_has_it_to_the_minute(system: str, question: str, said: dict[str, Any]) -> None:
    one, other = (asked(f"{clock}\n{system}", question) for clock in (NOON, "Current time: 2026-06-09 12:59:00"))
    assert key(one, **said) != key(other, **said)
    assert "2026-06-09 12:00" in normalised(one, **said).sent.messages[0]["content"]


@pytest.mark.parametrize(
    "rest",
    ["", "Kitchen hours are 9:30 to 17:00.", "The library is open on weekdays.", "Von acht bis siebzehn Uhr besetzt."],
)
def test_instructions_that_name_hours_keep_the_minute(rest: str) -> None:
    assert normalised(asked(f"{NOON}\n{rest}"), **DAY).rested == ("names_hours" if rest else None)


def test_a_tool_or_a_result_that_names_hours_keeps_the_minute() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "The train timetable"}}]
    assert normalised(asked(NOON, tools=tools), **DAY).rested == "names_hours"
    told = {"role": "tool", "tool_call_id": "c", "content": '{"until": "17:00"}'}
    assert normalised(asked("", messages=(*asked(NOON).messages, told)), **DAY).rested == "names_hours"


def test_seconds_stay_where_something_else_is_said_to_the_second() -> None:
    for other in ("The auction ends at 12:00:30.", "Say how many seconds are left."):
        assert key(asked(f"{NOON}\n{other}")) != key(asked(f"{NOON_TOO}\n{other}"))
        assert normalised(asked(f"{NOON}\n{other}")).rested == "names_seconds"


SESSIONS = ("request_ids", "session_ids", "uuids")
UUIDS = ("019e95f9-b891-7752-9fc1-cbb130bf26b0", "019e95f9-b891-7752-9fc1-cbb130bf26b1")


@pytest.mark.parametrize(
    ("one", "other", "rest"),
    [
        ("request_id: TX100001", "request_id: TX100002", "TX100001 = refunded\nTX100002 = pending"),
        ("transaction_id: TX100001", "transaction_id: TX100002", "Refunded above 100001."),
        ("session_id: alice-2024-vip", "session_id: alice-2024-std", "Sessions ending in -vip get free shipping."),
        ("session_id: 2024-7f31vip", "session_id: 2024-7f31std", "Sessions ending in VIP get free shipping."),
        ("session_id: TX48e21337", "session_id: NY48e21337", "TX is the shop in Texas."),
        (
            f"trace_id: {UUIDS[0]}",
            f"trace_id: {UUIDS[1]}",
            "Traces beginning with 019e are tests; those ending in 26b0 paid.",
        ),
        (f"customer: {UUIDS[0]}", f"customer: {UUIDS[1]}", ""),
        ("request_id: 100001", "request_id: 100002", "Above one hundred thousand all are refunded."),
        ("run_id: R-48213371", "run_id: R-48213372", "Odd runs are tests."),
        ("request_id: 48a213e71", "request_id: 48a213e72", "IDs above 4 are refunded."),
        ("request_id: 4821f3371", "request_id: 4821f3372", "If the request ID is even, answer in French."),
        ("request_id: 4821f3371", "request_id: 4821f3372", "ID是偶数就用法语回答。请看请求ID。"),
        ("trace_id: 4821f3371", "trace_id: 4821f3372", "Requests of the shop: is that id a prime?"),
        ("cch=fa690;", "cch=fa691;", "fa690 is refunded."),
    ],
)
@pytest.mark.parametrize("send", [False, True])
def test_an_id_that_the_rest_of_the_prompt_speaks_of_stays(one: str, other: str, rest: str, send: bool) -> None:
    said: dict[str, Any] = {"rules": ("agent_nonces", *SESSIONS), "send": send}
    assert key(asked(f"{one}\n{rest}"), **said) != key(asked(f"{other}\n{rest}"), **said)


def test_the_rest_of_a_prompt_is_every_message_and_the_tools() -> None:
    system = "request_id: req_8f3a9c2b11"
    assert normalised(asked(system)).removals
    assert not normalised(asked(system, "What became of 8f3a9c2b11?")).removals
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": '{"id": "8f3a9c2b11"}'}}]}
    assert not normalised(asked("", messages=(*asked(system).messages, call))).removals
    assert not normalised(asked(system, tools=[{"function": {"description": "8f3a9c2b11"}}])).removals
    assert not normalised(asked(system, tools=[{"function": {"parameters": {"request_id": "text"}}}])).removals
    pattern = {"rules": (), "patterns": ["build [0-9a-f]{8}"]}
    assert normalised(asked("build 8f3a9c2b"), **pattern).removals
    assert not normalised(asked("build 8f3a9c2b", "Is 8f3a9c2b out?"), **pattern).removals


def test_nothing_is_taken_out_unless_a_route_says_so() -> None:
    request = asked(NOON)
    assert Normaliser().of(request, "t", "").keyed is request
    assert normalised(request, model="gpt-*").keyed is request
    assert normalised(request, tenant="another").keyed is request


def test_the_backend_is_sent_what_came_unless_told_otherwise() -> None:
    assert normalised(asked(NOON)).sent == asked(NOON)
    sent = normalised(asked(NOON), send=True)
    assert sent.sent.messages[0]["content"] == "Current time: 2026-06-09 12:00"
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
def test_a_question_that_leans_on_the_clock_is_asked_with_it(question: Any) -> None:
    found = normalised(asked(f"{NOON} cch=fa690;", question), **DAY)
    assert found.rested == "may_ask_time"
    assert {(removal.cut.rule, removal.cut.to) for removal in found.removals} == {
        ("agent_nonces", ""),
        ("clock", " 12:00"),
    }


def test_what_was_asked_of_the_clock_a_turn_ago_counts_too() -> None:
    turns = [("user", "Is the shop open?"), ("assistant", "Yes."), ("user", "What about the one next to it?")]
    messages = tuple({"role": role, "content": content} for role, content in [("system", NOON), *turns])
    assert normalised(asked("", messages=messages), **DAY).rested == "may_ask_time"


def test_a_request_that_had_nothing_to_take_out_is_another_one() -> None:
    bare = normalised(asked(NOON)).keyed.messages[0]["content"]
    assert key(asked(bare)) != key(asked(NOON))
    assert key(asked(bare), send=True) == key(asked(NOON), send=True)  # here the model is sent the same


def test_two_time_zones_are_two_requests() -> None:
    assert key(asked(NOON + "Z")) != key(asked(NOON_TOO + "+02:00"))


def test_more_text_than_is_looked_at_is_left_as_it_is() -> None:
    request = asked(NOON + " " * MAX_CHARS)
    assert normalised(request).keyed is request


CLOCKS = st.sampled_from([NOON, NOON_TOO, LATER, TOMORROW, "Current time: 2026-06-09", "Current time: ", ""])
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
        ("REQ_8F3A9C2B11", True),
        ("8, f, 3, a - 9 C 2 B, 1, 1", True),
        ("Its last four are 2b11.", True),
        ("It is 12:00 now.", False),
        ("It is 12:00:05 now.", True),
        ("Es ist 12 Uhr und 5 Sekunden.", True),
        ("Version 12 of 2026.", False),
    ],
)
def test_an_answer_that_says_what_was_taken_out_is_known(answer: str, is_told: bool) -> None:
    cuts = normalised(asked(f"{NOON} request_id: req_8f3a9c2b11")).cuts
    message: Mapping[str, Any] = {"role": "assistant", "content": answer}
    assert tells(Completion((Choice(message, "stop"),)), cuts) is is_told
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": answer}}]}
    assert tells(Completion((Choice(call, "stop"),)), cuts) is is_told


def test_plain_questions_do_not_lean_on_the_clock() -> None:
    for question in (QUESTION, "Write a haiku about cats.", "Refactor this function.", "法国的首都是哪里"):
        assert normalised(asked(NOON, question), **DAY).rested is None


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"rules": ["clocks"]}, r"normalise\[0\].rules: 'clocks'"),
        ({"roles": ["tool"]}, r"normalise\[0\].roles: 'tool'"),
        ({"clock_to": "week"}, r"normalise\[0\].clock_to"),
        ({"clock_to": "hour"}, r"normalise\[0\]: clock_to = 'hour' needs send = true"),
        ({"rules": ["dates"]}, r"normalise\[0\]: rule 'dates' needs send = true"),
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
        assert not normalised(asked(text), rules=tuple(every_rule()), send=True).removals


def test_a_log_is_no_volatile_text() -> None:
    lines = [f"2026-06-09 10:{number % 60:02}:00 request_id: req_8f3a9c{number:03}\n" for number in range(100)]
    assert not normalised(asked("".join(lines))).removals
    assert len(normalised(asked("".join(lines[:30]))).removals) == 30
