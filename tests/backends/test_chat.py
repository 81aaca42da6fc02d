"""An answer taken apart is put together again, whoever took it apart."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.chat import ChatRequest, Choice, Collector, Completion, Delta, Usage, collect, replay


def message_of(*pieces: dict[str, Any]) -> Any:
    return collect([Delta(fields=piece) for piece in pieces]).choices[0].message


PIECES: dict[str, tuple[Sequence[dict[str, Any]], dict[str, Any]]] = {
    "text": (
        [{"role": "assistant", "content": ""}, {"content": "two "}, {"content": "words"}],
        {"role": "assistant", "content": "two words"},
    ),
    "a role is always there": ([{"content": "x"}], {"role": "assistant", "content": "x"}),
    "a role said twice": (
        [{"role": "assistant"}, {"role": "assistant", "content": "x"}],
        {"role": "assistant", "content": "x"},
    ),
    "nulls beside the text": (
        [{"content": "a", "refusal": None}, {"content": None}, {"content": "b"}],
        {"role": "assistant", "content": "ab", "refusal": None},
    ),
    "reasoning before the text": (
        [{"reasoning_content": "let "}, {"reasoning_content": "me"}, {"content": "x"}],
        {"role": "assistant", "reasoning_content": "let me", "content": "x"},
    ),
    "a refusal": (
        [{"refusal": "I "}, {"refusal": "cannot"}],
        {"role": "assistant", "refusal": "I cannot", "content": None},
    ),
    "audio": (
        [{"audio": {"id": "a1", "data": "QUJD"}}, {"audio": {"data": "REVG", "transcript": "he"}},
         {"audio": {"transcript": "y", "expires_at": 9}}],
        {"role": "assistant", "content": None,
         "audio": {"id": "a1", "data": "QUJDREVG", "transcript": "hey", "expires_at": 9}},
    ),
    "two tool calls in turns": (
        [
            {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}},
                            {"index": 1, "function": {"arguments": "{"}}]},
            {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "}"}}]},
            {"tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": ":1}"}}]},
        ],
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]},
    ),
    "tool calls without numbers are whole": (
        [{"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
         {"tool_calls": [{"id": "b", "index": None, "function": {"name": "f", "arguments": "{}"}}]}],
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "function": {"name": "f", "arguments": "{}"}},
        ]},
    ),
    "a custom tool": (
        [{"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "sel"}}]},
         {"tool_calls": [{"index": 0, "custom": {"input": "ect"}}]}],
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select"}}]},
    ),
    "the old function call": (
        [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}],
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    ),
    "lists a provider adds": (
        [{"annotations": [{"url": 1}]}, {"annotations": [{"url": 2}]}, {"tool_calls": None}, {"tool_calls": []}],
        {"role": "assistant", "content": None, "annotations": [{"url": 1}, {"url": 2}], "tool_calls": []},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pieces", "message"), PIECES.values(), ids=PIECES.keys())
def test_pieces_spell_a_message(pieces: Sequence[dict[str, Any]], message: dict[str, Any]) -> None:
    assert message_of(*pieces) == message


@pytest.mark.parametrize(("pieces", "_message"), PIECES.values(), ids=PIECES.keys())
def test_collecting_leaves_the_pieces_as_they_were(pieces: Sequence[dict[str, Any]], _message: Any) -> None:
    before = deepcopy(pieces)
    message_of(*pieces, *pieces)

    assert pieces == before


class Copied(str):
    """A text that counts how much of it is copied when texts are put together one by one."""

    num_chars = 0

    def __add__(self, other: str) -> "Copied":
        Copied.num_chars += len(self) + len(other)
        return Copied(str(self) + other)

    def __radd__(self, other: str) -> "Copied":
        Copied.num_chars += len(self) + len(other)
        return Copied(other + str(self))


def test_a_piece_is_work_of_its_own_size_however_much_came_before() -> None:
    piece = Copied("wörd ")
    fields = {
        "content": piece,
        "reasoning_content": piece,
        "audio": {"data": piece},
        "tool_calls": [{"index": 0, "function": {"arguments": piece}}],
    }
    Copied.num_chars = 0
    choice = collect([Delta(fields=fields, logprobs={"content": [1], "note": piece})] * 1000).choices[0]

    said = [choice.message["content"], choice.message["reasoning_content"], choice.message["audio"]["data"]]
    said.append(choice.message["tool_calls"][0]["function"]["arguments"])
    assert choice.logprobs is not None
    assert {*said, choice.logprobs["note"]} == {"wörd " * 1000}
    assert Copied.num_chars == 0


def test_an_answer_can_be_read_before_its_end_and_grow_on() -> None:
    collector = Collector()
    seen = []
    for part in "abc":
        collector.add(Delta(fields={"content": part, "notes": [part]}))
        seen.append(collector.completion().choices[0].message)

    assert [(message["content"], message["notes"]) for message in seen] == [
        ("a", ["a"]), ("ab", ["a", "b"]), ("abc", ["a", "b", "c"]),
    ]  # fmt: skip


def test_several_choices_are_kept_apart() -> None:
    deltas = [
        Delta(1, {"content": "one"}),
        Delta(0, {"content": "zero"}),
        Delta(1, finish_reason="length"),
        Delta(0, finish_reason="stop"),
    ]

    assert collect(deltas).choices == (
        Choice({"role": "assistant", "content": "zero"}, "stop"),
        Choice({"role": "assistant", "content": "one"}, "length"),
    )


def test_an_answer_cut_off_has_no_finish_reason() -> None:
    assert collect([Delta(fields={"content": "half"})]).choices[0].finish_reason is None


def test_log_probabilities_are_appended_even_after_a_null() -> None:
    pieces = [{"content": None, "refusal": [{"token": "a"}]}, {"content": [{"token": "b"}], "refusal": None}]
    deltas = [Delta(logprobs=piece) for piece in pieces] + [Delta(logprobs={"content": [{"token": "c"}]})]

    assert collect(deltas).choices[0].logprobs == {
        "content": [{"token": "b"}, {"token": "c"}],
        "refusal": [{"token": "a"}],
    }


def test_the_last_usage_and_every_envelope_field_count() -> None:
    deltas = [
        Delta(usage=Usage(7, 0, 3), extra={"system_fingerprint": "fp"}),
        Delta(fields={"content": "x"}, extra={"service_tier": "auto"}),
        Delta(usage=Usage(7, 1, 3), extra={"service_tier": "default"}),
    ]
    completion = collect(deltas)

    assert completion.usage == Usage(7, 1, 3)
    assert completion.extra == {"system_fingerprint": "fp", "service_tier": "default"}
    assert len(completion.choices) == 1


def test_usage_reads_nulls_as_zero_and_keeps_what_it_does_not_know() -> None:
    wire = {
        "prompt_tokens": 9,
        "completion_tokens": None,
        "total_tokens": 9,
        "cost": 0.1,
        "prompt_tokens_details": None,
    }
    usage = Usage.from_wire(wire)

    assert usage == Usage(9, 0, 0, {"cost": 0.1, "prompt_tokens_details": None})
    assert usage.to_wire() == {
        "cost": 0.1,
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_request_body_keeps_the_fields_nobody_knows() -> None:
    request = ChatRequest("m", ({"role": "user", "content": "hi"},), {"top_k": 5, "temperature": 0}, stream=True)

    assert request.body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "top_k": 5,
        "temperature": 0,
    }


@pytest.mark.parametrize(
    ("prediction", "draft"),
    [
        (None, "near"),
        ({"type": "content", "content": "mine"}, "mine"),
        ({"type": "content", "content": [{"type": "text", "text": "mi"}, {"type": "text", "text": "ne"}]}, "mine"),
        ({"type": "content", "content": ""}, ""),
        ({"type": "content", "content": [5, {"type": "image_url"}]}, ""),
        ("nonsense", "near"),
    ],
)
def test_a_callers_own_prediction_is_drafted_from_rather_than_a_near_answer(prediction: Any, draft: str) -> None:
    assert ChatRequest("m", (), {"prediction": prediction}, near_answer="near").draft == draft


# --- any answer at all ---

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=3)
TOOL_CALLS = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(max_size=4), "type": st.just("function")},
        optional={"function": st.fixed_dictionaries({"name": st.text(max_size=4), "arguments": st.text(max_size=9)})},
    ),
    max_size=3,
)
MESSAGES = st.builds(
    lambda known, unknown: {**unknown, **known},
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none() | st.text(max_size=9)},
        optional={
            "refusal": st.none() | st.text(max_size=9),
            "reasoning_content": st.text(max_size=9),
            "tool_calls": st.none() | TOOL_CALLS,
            "audio": OBJECTS,
        },
    ),
    OBJECTS,
)
LOGPROBS = st.none() | st.fixed_dictionaries({"content": st.none() | st.lists(OBJECTS, max_size=3)})
USAGES = st.builds(Usage, *[st.integers(0, 99)] * 3, OBJECTS)
CHOICES = st.builds(Choice, MESSAGES, st.none() | st.sampled_from(["stop", "length", "tool_calls"]), LOGPROBS)
COMPLETIONS = st.builds(Completion, st.lists(CHOICES, max_size=3).map(tuple), USAGES, OBJECTS)


@given(COMPLETIONS)
def test_a_replayed_answer_collects_into_itself(completion: Completion) -> None:
    assert collect(replay(completion)) == completion


@given(COMPLETIONS, st.randoms())
def test_choices_may_take_turns(completion: Completion, random: Any) -> None:
    """Only the order inside a choice matters."""
    deltas = list(replay(completion))
    order = sorted(delta.index for delta in deltas[:-1])
    random.shuffle(order)
    queues = {index: iter([d for d in deltas[:-1] if d.index == index]) for index in set(order)}

    assert collect([*(next(queues[index]) for index in order), deltas[-1]]) == completion
