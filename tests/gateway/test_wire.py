"""Bodies as they come in: what is refused, and in which words."""

from collections.abc import Callable
from itertools import product
from typing import Any

import orjson
import pytest

from gateway.embedded.request import parse_embeddings
from gateway.errors import InvalidRequest
from gateway.shapes.completions import CompletionsShape
from gateway.shapes.responses.shape import ResponsesShape
from gateway.wire import MAX_CHOICES, ChatBody, _is_plain, parse_chat

CHAT = {"messages": [{"role": "user", "content": "?"}]}
HUGE = b"1" + b"0" * 30


def refusal(parse: Callable[[bytes], object], body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        parse(body)
    return refused.value


@pytest.mark.parametrize("field", ["n", "best_of"])
def test_as_many_choices_as_openai_gives_are_asked_for_at_most(field: str) -> None:
    parse, body = (parse_chat, CHAT) if field == "n" else (CompletionsShape().parse, {"prompt": "?"})

    parse(orjson.dumps({"model": "m", **body, field: MAX_CHOICES}))
    refused = refusal(parse, orjson.dumps({"model": "m", **body, field: MAX_CHOICES + 1}))
    assert (refused.param, "128" in refused.message) == (field, True)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "seed", "top_logprobs"])
def test_a_number_beyond_64_bits_is_called_too_large(field: str) -> None:
    body = orjson.dumps({"model": "m", **CHAT, field: 0}).replace(b":0}", b":" + HUGE + b"}")

    assert refusal(parse_chat, body).message == f"{field}: is too large a number."


def test_a_fraction_is_not_called_too_large() -> None:
    assert "valid integer" in refusal(parse_chat, orjson.dumps({"model": "m", **CHAT, "seed": 0.5})).message


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "input: is empty."),
        ([], "input: is empty."),
        (["a", ""], "input: item 1 is empty."),
        ([["a"]], "input: item 0 must be a text or a list of tokens."),
    ],
)
def test_an_empty_text_to_embed_is_called_empty(given: Any, told: str) -> None:
    assert refusal(parse_embeddings, orjson.dumps({"model": "m", "input": given})).message == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "input is missing."),
        ({"input": []}, "input is empty."),
        (
            {"input": [{"type": "reasoning", "summary": []}]},
            "input holds only what the model thought, and nothing to answer.",
        ),
    ],
)
def test_an_input_without_a_question_is_told_so(given: Any, told: str) -> None:
    assert refusal(ResponsesShape().parse, orjson.dumps({"model": "m", **given})).message == told


ODD: list[Any] = ["", "m", "m" * 513, None, 1, True, [], {}, "user", "tool", "robot", [{"type": "text", "text": "a"}]]


def test_a_body_taken_at_a_glance_is_one_that_is_taken_at_a_closer_look() -> None:
    taken = 0
    for model, role, content, stream in product(ODD, ODD, ODD, (True, False, None, 1)):
        body = {"model": model, "messages": [{"role": role, "content": content}], "stream": stream}
        if _is_plain(body):
            ChatBody.model_validate(body)
            taken += 1

    assert taken > 50
