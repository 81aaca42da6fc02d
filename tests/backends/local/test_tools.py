"""Tool calls and thoughts are found in the text of an answer, however it is cut; what is no call stays text."""

import json
from itertools import pairwise
from typing import Any

import pytest

from backends.chat import Delta, collect
from backends.errors import RequestRejected
from backends.local.speech.parts import Manner, Speech
from backends.local.speech.tools import HERMES, LLAMA, MISTRAL, Dialect, calls_shape, dialect_of, read_calls

Called = list[tuple[str, Any]]
SUN = '{"name": "sun", "arguments": {"at": "noon", "n": [1, {"x": "}"}]}}'
RAIN = '{"arguments": {"q": "\\"<tool_call>\\" 缓存"}, "name": "rain"}'
SUN_CALL = ("sun", {"at": "noon", "n": [1, {"x": "}"}]})
RAIN_CALL = ("rain", {"q": '"<tool_call>" 缓存'})
LLAMA_SUN = SUN.replace("arguments", "parameters")
SUN_TAG = f"<tool_call>{SUN}</tool_call>"
NO_ARGUMENTS = '<tool_call>{"name": "f", "arguments": 1}'
ANSWERS: dict[str, tuple[Dialect, str, str | None, Called]] = {
    "one call": (HERMES, f"<tool_call>\n{SUN}\n</tool_call>", None, [SUN_CALL]),
    "two calls": (
        HERMES,
        f"<tool_call>{SUN}</tool_call>\n<tool_call>\n{RAIN}\n</tool_call>\n",
        None,
        [SUN_CALL, RAIN_CALL],
    ),
    "text before": (HERMES, f"Let me look. \n\n<tool_call>\n{SUN}\n</tool_call>", "Let me look.", [SUN_CALL]),
    "text around": (HERMES, f"a\n<tool_call>{SUN}</tool_call>\n b <", "ab <", [SUN_CALL]),
    "no closing tag": (HERMES, f"<tool_call>\n{SUN}\n", None, [SUN_CALL]),
    "no call": (HERMES, "a < b and <tool is no <tool_call", "a < b and <tool is no <tool_call", []),
    "no JSON": (HERMES, "<tool_call>\nsun(1)\n</tool_call> ", "<tool_call>\nsun(1)\n</tool_call> ", []),
    "broken JSON": (HERMES, '<tool_call>{"name": sun}</tool_call>', '<tool_call>{"name": sun}</tool_call>', []),
    "no name": (HERMES, '<tool_call>{"arguments": {}}</tool_call>', '<tool_call>{"arguments": {}}</tool_call>', []),
    "arguments that are none": (
        HERMES,
        '<tool_call>{"name": "f", "arguments": 1}',
        '<tool_call>{"name": "f", "arguments": 1}',
        [],
    ),
    "cut": (HERMES, f"ok <tool_call>{SUN[:-9]}", f"ok <tool_call>{SUN[:-9]}", []),
    "the second broken": (HERMES, f"<tool_call>{SUN}</tool_call><tool_call>no", "<tool_call>no", [SUN_CALL]),
    "a list": (MISTRAL, f"[TOOL_CALLS] [{SUN}, {RAIN}]", None, [SUN_CALL, RAIN_CALL]),
    "a list of one": (MISTRAL, f"Well: [TOOL_CALLS][{SUN}] ", "Well:", [SUN_CALL]),
    "a list and text": (MISTRAL, f"[TOOL_CALLS] [{SUN}] as in [1] [", "as in [1] [", [SUN_CALL]),
    "a list of none": (MISTRAL, "[TOOL_CALLS] nothing", "[TOOL_CALLS] nothing", []),
    "bare": (LLAMA, LLAMA_SUN, None, [SUN_CALL]),
    "bare, with white space": (LLAMA, f"\n {LLAMA_SUN}\n", None, [SUN_CALL]),
    "tagged": (LLAMA, f"<|python_tag|>{LLAMA_SUN}; {LLAMA_SUN}", None, [SUN_CALL, SUN_CALL]),
    "code": (LLAMA, '<|python_tag|>print("x")', '<|python_tag|>print("x")', []),
    "JSON that is no call": (LLAMA, '{"answer": 42}', '{"answer": 42}', []),
    "JSON later on": (LLAMA, f"Here: {LLAMA_SUN}", f"Here: {LLAMA_SUN}", []),
    "nothing": (LLAMA, "", None, []),
}


def read(manner: Manner, *pieces: str) -> tuple[dict[str, Any], bool]:
    """The message that the pieces of an answer make, and whether it calls."""
    speech = Speech(manner)
    parts = [part for piece in pieces for part in speech.push(piece)]
    parts += speech.flush()
    message = collect([Delta(fields=part) for part in parts] or [Delta(finish_reason="stop")]).choices[0].message
    return dict(message), speech.has_calls


def called(message: dict[str, Any]) -> Called:
    calls = [call["function"] for call in message.get("tool_calls", [])]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


@pytest.mark.parametrize("is_sure", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_the_same_wherever_it_is_cut(name: str, is_sure: bool) -> None:
    dialect, text, content, calls = ANSWERS[name]
    manner = Manner(dialect, is_sure=is_sure and name not in ("cut", "arguments that are none"))
    for at in range(len(text) + 1):
        message, has_calls = read(manner, text[:at], text[at:])

        assert (message["content"], called(message), has_calls) == (content, calls, bool(calls)), at
    message, _ = read(manner, *text)
    assert (message["content"], called(message)) == (content, calls)


def test_arguments_are_passed_on_as_the_model_wrote_them() -> None:
    message, _ = read(Manner(HERMES), '<tool_call>{"name": "f", "arguments": {"a":  1.50}}</tool_call>')

    (call,) = message["tool_calls"]
    assert call["function"]["arguments"] == '{"a":  1.50}'
    assert call["type"] == "function"
    assert call["id"].startswith("call_")


def test_calls_have_ids_of_their_own_that_their_template_takes() -> None:
    message, _ = read(Manner(MISTRAL), f"[TOOL_CALLS] [{SUN}, {SUN}]")

    ids = {call["id"] for call in message["tool_calls"]}
    assert len(ids) == 2
    assert all(len(each) == 9 and each.isalnum() for each in ids)


def test_a_call_that_is_sure_to_be_sound_is_told_as_it_is_written() -> None:
    speech = Speech(Manner(HERMES, is_sure=True))

    pieces = [part["tool_calls"][0] for character in f"<tool_call>{SUN}" for part in speech.push(character)]

    assert pieces[0]["function"] == {"name": "sun", "arguments": ""}
    assert all(list(piece) == ["index", "function"] and piece["index"] == 0 for piece in pieces[1:])
    assert len(pieces) > 30
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == SUN_CALL[1]


def test_a_sure_call_that_is_cut_keeps_what_was_told_and_is_no_whole_call() -> None:
    message, has_calls = read(Manner(HERMES, is_sure=True), f"<tool_call>{SUN[:-12]}")

    assert message["tool_calls"][0]["function"]["arguments"].startswith('{"at": "noon"')
    assert (message["content"], has_calls) == (None, False)


THOUGHTS: dict[str, tuple[str, str | None, str | None]] = {
    "a thought": ("<think>\nWell, 1 < 2.\n</think>\n\nYes.", "Well, 1 < 2.", "Yes."),
    "an empty one": ("<think>\n\n</think>\n\nYes.", None, "Yes."),
    "none": ("Yes. <think> is a tag", None, "Yes. <think> is a tag"),
    "nearly one": ("<thin", None, "<thin"),
    "a thought alone": ("<think>\nWell, </thi", "Well, </thi", None),
    "a tag later": ("\n<think>a</think>b</think>", "a", "b</think>"),
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_a_thought_is_told_apart_wherever_the_text_is_cut(name: str) -> None:
    text, thought, content = THOUGHTS[name]
    for cuts in pairwise(range(len(text) + 1)):
        pieces = text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]
        message, _ = read(Manner(thinks=True), *pieces)

        assert (message.get("reasoning_content"), message["content"]) == (thought, content), cuts


def test_a_prompt_may_begin_the_thought_itself() -> None:
    message, _ = read(Manner(thinks=True, has_begun_thinking=True), "so\n</think>", "\n\nyes")

    assert (message["reasoning_content"], message["content"]) == ("so", "yes")


def test_a_call_may_follow_a_thought() -> None:
    message, _ = read(
        Manner(HERMES, thinks=True), f"<think>I call <tool_call>\n</think>\n\n<tool_call>{SUN}</tool_call>"
    )

    assert (message["reasoning_content"], called(message)) == ("I call <tool_call>", [SUN_CALL])


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        ("{{ '<tool_call>' }}", HERMES),
        ("{{ '[TOOL_CALLS]' }}", MISTRAL),
        ("{{ '<|python_tag|>' }}", LLAMA),
        ("""{{ '{"name": ..., "parameters": ...}' }} ipython""", LLAMA),
        ("{{ '<tool_call><function=x>' }}", None),
        ("{{ messages }}", None),
    ],
)
def test_the_dialect_is_that_of_the_chat_template(template: str, dialect: Dialect | None) -> None:
    assert dialect_of(template) == dialect


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("sun", "rain")]


@pytest.mark.parametrize("dialect", [HERMES, MISTRAL, LLAMA])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "rain"}}])
def test_forced_calls_have_a_grammar_in_every_dialect(dialect: Dialect, choice: Any) -> None:
    forced = read_calls(TOOLS, choice, parallel=True)
    assert forced is not None

    assert calls_shape(forced, dialect, {}).grammar


def test_parameters_that_cannot_be_enforced_are_named() -> None:
    tools = [*TOOLS, {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {}}}}]
    forced = read_calls(tools, "required", parallel=True)
    assert forced is not None

    with pytest.raises(RequestRejected) as refused:
        calls_shape(forced, HERMES, {})

    assert refused.value.param == "tools[2].function.parameters"
