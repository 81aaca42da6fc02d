"""What an answer must look like is understood, bounded, and refused by name where it cannot be enforced."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from backends.errors import RequestRejected
from backends.local.params import read_params
from backends.local.speech.grammar import MAX_CHARS, asked_shape, check
from backends.local.speech.tools import HERMES, calls_shape


def accepts(text: str, **params: Any) -> bool:
    """Whether a whole text is what a request asks for."""
    shape = asked_shape(params)
    assert shape is not None
    check(shape)
    matcher = LLMatcher(LLTokenizer("byte"), shape.grammar)
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("asked", "right", "wrong"),
    [
        ({"response_format": {"type": "json_object"}}, '{"a": [1]}', "[1]"),
        ({"guided_json": {"type": "integer"}}, "12", "1.5"),
        ({"guided_json": '{"type": "integer"}'}, "12", "a"),
        ({"structured_outputs": {"json": {"const": "x"}}}, '"x"', '"y"'),
        ({"guided_choice": ['a "b"', "ü"]}, 'a "b"', "u"),
        ({"guided_regex": "[a-c]{2}[0-9]?"}, "ab1", "abc"),
        ({"guided_grammar": 'start: "a" b\nb: /x+/'}, "axx", "a"),
    ],
)
def test_every_way_to_ask_is_understood(asked: dict[str, Any], right: str, wrong: str) -> None:
    assert accepts(right, **asked)
    assert not accepts(wrong, **asked)


def test_nothing_asked_is_no_grammar() -> None:
    assert asked_shape({}) is asked_shape({"response_format": {"type": "text"}}) is None


def test_white_space_is_allowed_and_bounded() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]}

    for text in (
        '{"a":[1,2]}',
        '{"a": [1, 2]}',
        json.dumps({"a": [1, 2]}, indent=4),
        json.dumps({"a": [1]}, indent="\t"),
    ):
        assert accepts(text, guided_json=schema), text
    for text in ('{"a":  []}', '{"a":\n\n[]}', ' {"a":[]}', '{"a":[]}\n', '{"a":\n' + " " * 41 + "[]}"):
        assert not accepts(text, guided_json=schema), text


def test_half_characters_cannot_be_escaped_and_whole_ones_are_written() -> None:
    assert accepts('"🙂 \\n \\" \\\\"', guided_json={"type": "string"})
    assert not accepts('"\\ud800"', guided_json={"type": "string"})


def test_callers_do_not_loosen_the_options() -> None:
    schema = {"type": "array", "items": {"type": "string", "format": "zzz"}, "x-guidance": {"lenient": True}}

    with pytest.raises(RequestRejected, match="Unknown format: zzz"):
        accepts("[]", guided_json=schema)


TOO_MANY = {f"property_{i}": {"type": "string"} for i in range(3000)}


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"$ref": "#/$defs/nowhere"}, "nowhere"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"enum": []}, "Unsatisfiable"),
        ({"type": "object", "properties": TOO_MANY}, "items"),
        ({"enum": ["x" * MAX_CHARS]}, "characters"),
        ([], "must be an object"),
        (True, "must be an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_enforced_is_refused_with_the_reason(schema: Any, complaint: str) -> None:
    with pytest.raises(RequestRejected, match=complaint) as refused:
        accepts("", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})

    assert refused.value.param == "response_format.json_schema.schema"
    assert refused.value.status == 400


def test_the_least_number_of_properties_may_be_what_is_required_anyway() -> None:
    assert accepts('{"a":1,"b":2}', guided_json={"type": "object", "required": ["a", "b"], "minProperties": 2})


NAMES = ("type", "json_schema", "schema", "name", "function", "parameters", "strict", "properties", "required", "items",
         "minProperties", "enum", "$ref", "anyOf", "json", "choice", "regex", "grammar")  # fmt: skip
WORDS = (*NAMES, "object", "string", "json_object", "#", "", "auto", "required", "\x00", "a/b")
FIELDS = ("response_format", "structured_outputs", "guided_json", "guided_choice", "guided_regex", "guided_grammar",
          "tools", "tool_choice", "parallel_tool_calls")  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(WORDS)
ANY = st.recursive(LEAVES, lambda each: st.lists(each) | st.dictionaries(st.sampled_from(NAMES), each), max_leaves=12)


@given(st.dictionaries(st.sampled_from(FIELDS), ANY))
@settings(max_examples=150, deadline=None)
def test_whatever_is_asked_is_understood_or_refused(params: dict[str, Any]) -> None:
    try:
        wanted = read_params(params, {}, 1000)
        if wanted.shape is not None:
            check(wanted.shape)
        if wanted.calls is not None:
            calls_shape(wanted.calls, HERMES, {}, wanted.shape)
    except RequestRejected as refusal:
        param = refusal.param or "none"
    else:
        return

    assert param.split(".")[0].split("[")[0] in FIELDS
