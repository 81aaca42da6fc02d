"""Tokens become deltas: whole text, true ends, and log probabilities that belong to the text shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.chat import Completion, Delta, collect
from backends.local.answer import Answer, joined
from backends.local.params import Generation, Sampling
from backends.local.speech.parts import Manner
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.speech.tools import HERMES, MISTRAL
from backends.local.wire import Admitted, Token, Tokens

Checkpoints = Callable[[str], Path]


@pytest.fixture
def tokenizer(checkpoints: Checkpoints) -> ChatTokenizer:
    return ChatTokenizer(checkpoints("llama"))


def text_ids(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """The tokens of a text alone."""
    chat = tokenizer.encode_chat([{"role": "user", "content": text}])
    empty = tokenizer.encode_chat([{"role": "user", "content": ""}])
    shared = next(i for i, (a, b) in enumerate(zip(chat, empty, strict=False)) if a != b)
    return chat[shared : len(chat) - (len(empty) - shared)]


def write(tokenizer: ChatTokenizer, token_ids: list[int], finish: str, *stops: str) -> Completion:
    """One choice of these tokens, the last with a finish reason."""
    answer = Answer(10, Generation(Sampling(top_logprobs=0), stop=stops), tokenizer)
    deltas: list[Delta] = answer.take(Admitted(1, 0, 7))
    for i, token_id in enumerate(token_ids):
        is_last = i == len(token_ids) - 1
        deltas += answer.take(Token(1, 0, token_id, finish if is_last else None, logprob=-0.5))
    assert answer.is_finished
    return collect([*deltas, Delta(usage=answer.usage)])


def spelled(completion: Completion) -> str:
    """The text as its log probabilities spell it."""
    logprobs = completion.choices[0].logprobs
    return b"".join(bytes(entry["bytes"]) for entry in (logprobs or {"content": []})["content"]).decode()


@pytest.mark.parametrize("text", ["A cache keeps.", "缓存命中 🙂 ja", "Schloß"])
def test_text_and_log_probabilities_spell_the_same(text: str, tokenizer: ChatTokenizer) -> None:
    completion = write(tokenizer, text_ids(tokenizer, text), "length", "no such stop")

    assert completion.choices[0].message["content"] == spelled(completion) == text
    assert completion.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stops", [(), ("🙂 j", "never")])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_tokens_told_together_say_what_they_say_one_by_one(
    size: int, stops: tuple[str, ...], tokenizer: ChatTokenizer
) -> None:
    token_ids = text_ids(tokenizer, "A cache keeps. 缓存命中 🙂 ja, and so on")
    together, singly = (Answer(10, Generation(Sampling(), stop=stops), tokenizer) for _ in range(2))

    runs = [token_ids[start : start + size] for start in range(0, len(token_ids), size)]
    by_run = [delta for run in runs for delta in together.take(Tokens(1, 0, run))]
    by_token = [delta for token_id in token_ids for delta in singly.take(Token(1, 0, token_id))]

    assert collect(by_run) == collect(by_token)
    assert together.usage == singly.usage


def test_a_stop_string_is_neither_in_the_text_nor_in_the_log_probabilities(tokenizer: ChatTokenizer) -> None:
    completion = write(tokenizer, text_ids(tokenizer, "one two STOP three"), "length", " STOP")

    assert completion.choices[0].message["content"] == "one two"
    assert completion.choices[0].finish_reason == "stop"
    assert spelled(completion) == "one two"


def test_the_end_token_is_counted_and_not_shown(tokenizer: ChatTokenizer) -> None:
    token_ids = [*text_ids(tokenizer, "done"), *tokenizer.eos_token_ids]

    completion = write(tokenizer, token_ids, "stop")

    assert completion.choices[0].message["content"] == "done"
    assert completion.usage.completion_tokens == len(token_ids)
    assert (completion.usage.prompt_tokens, completion.usage.cached_tokens) == (10, 7)


def test_what_may_have_become_a_stop_string_is_shown_at_the_end(tokenizer: ChatTokenizer) -> None:
    completion = write(tokenizer, text_ids(tokenizer, "one ST"), "length", "STOP")

    assert completion.choices[0].message["content"] == spelled(completion) == "one ST"


def test_a_token_that_is_partly_in_a_stop_string_has_no_log_probability(tokenizer: ChatTokenizer) -> None:
    text, stop = "A cache keeps what was computed", "at was"
    token_ids = text_ids(tokenizer, text)
    starts = [len(tokenizer.decode(token_ids[:i])) for i in range(len(token_ids))]
    assert text.index(stop) not in starts  # it begins inside of a token, and goes on over several

    completion = write(tokenizer, token_ids, "length", stop)

    shown = text[: text.index(stop)]
    assert completion.choices[0].message["content"] == shown
    assert shown.startswith(spelled(completion))
    assert len(spelled(completion)) == max(start for start in starts if start < len(shown))


def test_a_special_token_that_begins_a_call_is_read_as_text(tokenizer: ChatTokenizer) -> None:
    marker = tokenizer.eos_token_ids[0] - 1  # <|im_start|>, for want of [TOOL_CALLS]
    manner = Manner(MISTRAL, markers={marker: "[TOOL_CALLS]"})
    answer = Answer(10, Generation(Sampling(top_logprobs=0)), tokenizer, manner)
    body = text_ids(tokenizer, ' [{"name": "f", "arguments": {"a": "缓"}}]')
    token_ids = [*text_ids(tokenizer, "Well"), marker, *body, *tokenizer.eos_token_ids]

    deltas = answer.take(Admitted(1, 0, 0))
    for token_id in token_ids:
        deltas += answer.take(Token(1, 0, token_id, "stop" if token_id == token_ids[-1] else None, logprob=-0.5))

    completion = collect(deltas)
    choice = completion.choices[0]
    (call,) = choice.message["tool_calls"]
    assert (choice.message["content"], choice.finish_reason) == ("Well", "tool_calls")
    assert call["function"] == {"name": "f", "arguments": '{"a": "缓"}'}
    assert choice.logprobs is not None
    assert len(choice.logprobs["content"]) == len(token_ids) - 1


def test_a_call_that_is_cut_by_the_limit_is_no_tool_call(tokenizer: ChatTokenizer) -> None:
    answer = Answer(10, Generation(Sampling()), tokenizer, Manner(HERMES))
    token_ids = text_ids(tokenizer, '<tool_call>{"name": "f", "argu')
    deltas = answer.take(Admitted(1, 0, 0))
    for i, token_id in enumerate(token_ids):
        deltas += answer.take(Token(1, 0, token_id, "length" if i == len(token_ids) - 1 else None))

    choice = collect(deltas).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message == {"role": "assistant", "content": '<tool_call>{"name": "f", "argu'}


def test_pieces_of_text_that_follow_each_other_are_told_as_one() -> None:
    role = Delta(0, {"role": "assistant", "content": ""})
    thought = Delta(0, {"reasoning_content": "so"})
    spelled = Delta(0, {"content": "!"}, logprobs={"content": []})
    end = Delta(0, finish_reason="stop")
    pieces = [Delta(0, {"content": text}) for text in ("a", "b", "c")]
    other = Delta(1, {"content": "x"})

    told = joined([role, thought, *pieces, other, pieces[0], spelled, pieces[1], end])

    assert told == [role, thought, Delta(0, {"content": "abc"}), other, pieces[0], spelled, pieces[1], end]
