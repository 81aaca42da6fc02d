"""Request fields are read as OpenAI means them, and what is wrong is named."""

from typing import Any

import pytest

from backends.errors import RequestRejected
from backends.local.params import Generation, Sampling, read_params

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}


def read(params: dict[str, Any], **defaults: Any) -> Generation:
    return read_params(params, defaults, vocab_size=1000)


def test_nothing_given_means_openais_defaults() -> None:
    assert read({}) == Generation(Sampling())


def test_the_checkpoints_defaults_fill_in_and_the_caller_wins() -> None:
    sampling = read({"temperature": 0.5, "top_p": None}, temperature=0.0, top_p=0.8).sampling

    assert (sampling.temperature, sampling.top_p) == (0.5, 0.8)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"stop": "x"}, {"stop": ("x",)}),
        ({"stop": ["x", "y"]}, {"stop": ("x", "y")}),
        ({"n": 3, "user": "u", "unheard_of": {"a": 1}}, {"n": 3}),
        ({"response_format": {"type": "text"}, "tool_choice": "auto"}, {}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"min_tokens": 0}, {}),
        ({"seed": -5}, {"sampling": Sampling(seed=-5)}),
        ({"logprobs": True}, {"sampling": Sampling(top_logprobs=0)}),
        ({"logprobs": True, "top_logprobs": 3}, {"sampling": Sampling(top_logprobs=3)}),
        ({"logprobs": False, "top_logprobs": 0}, {}),
        ({"logit_bias": {"7": -2}}, {"sampling": Sampling(logit_bias=((7, -2.0),))}),
        ({"top_k": -1}, {}),
    ],
)
def test_fields_are_understood(params: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(params) == Generation(**{"sampling": Sampling(), **expected})


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": 2.5}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"priority": 1.5}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "10"}, "timeout"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1000": 1}}, "logit_bias"),
        ({"logit_bias": {"7": 101}}, "logit_bias"),
        ({"tools": "all"}, "tools"),
        ({"tools": [TOOL, {}]}, "tools[1].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"min_tokens": "5"}, "min_tokens"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex"),
        ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [TOOL]}, "tool_choice"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_a_wrong_value_is_refused_by_name(params: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRejected) as refused:
        read(params)

    assert (refused.value.param, refused.value.status) == (param, 400)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": 9}, "temperature is 9, it must be a number in [0, 2]"),
        ({"temperature": "9"}, 'temperature is "9", it must be a number in [0, 2]'),
        ({"logprobs": None, "top_k": True}, "top_k is true, it must be an integer from -1"),
    ],
)
def test_a_wrong_value_is_shown_as_it_was_written(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRejected) as refused:
        read(params)

    assert refused.value.message == message


def test_priority_and_timeout_are_read() -> None:
    wanted = read_params({"priority": -2, "timeout": 1.5}, {}, 1000)

    assert (wanted.priority, wanted.timeout_s) == (-2, 1.5)
