"""Answers that must look like something do, whatever the model would rather say.

Random weights are the perfect adversary: every token they like is garbage, and only the grammar stands in the way.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from backends.local.engine import Engine
from backends.local.grammar import asked_shape
from backends.local.params import Sampling
from backends.local.tokenizer import ChatTokenizer
from tests.backends.local.engines import ask, engine, run, tokens

Checkpoints = Callable[[str], Path]

BOUNDED = {"type": "integer", "minimum": -5, "maximum": 5}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string", "maxLength": 8}, "zip": {"pattern": "^[0-9]{5}$"}},
            "required": ["street", "zip"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "address"],
    "additionalProperties": False,
}
NODE = {
    "type": "object",
    "properties": {"value": {"enum": [1, 2]}, "next": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}
KIND = {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"], "additionalProperties": False}
THIRDS = {"type": "integer", "multipleOf": 3, "maximum": 999, "minimum": 0}
FRACTION = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
SCHEMAS: dict[str, Any] = {
    "nested": PERSON,
    "enum": {"enum": ["red", "green", 7, None, {"a": [1]}]},
    "bounded array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    "optional": {
        "type": "object",
        "properties": {"a": BOUNDED, "b": {"type": "null"}, "c": {"const": "x"}},
        "additionalProperties": False,
    },
    "recursive": {
        "$defs": {"node": NODE, "leaf": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1}},
        "$ref": "#/$defs/node",
    },
    "union": {"anyOf": [KIND, {"type": "array", "items": THIRDS, "maxItems": 2}]},
    "numbers": {
        "type": "array",
        "prefixItems": [FRACTION, {"type": "integer"}, {"type": "number"}],
        "items": False,
        "minItems": 3,
    },
    "formats": {
        "type": "array",
        "prefixItems": [{"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}],
        "items": False,
        "minItems": 2,
    },
    "a map": {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2, "minProperties": 1},
    "free text": {"type": "object", "properties": {"t": {"type": "string"}}, "required": ["t"], "maxProperties": 1},
}
MOST_TOKENS = 400


def grammar(schema: Any) -> str:
    shape = asked_shape({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
    assert shape is not None
    return shape.grammar


@pytest.fixture(scope="module")
def llama(checkpoints: Checkpoints) -> Engine:
    return engine(checkpoints("llama"))


@pytest.fixture(scope="module")
def tokenizer(checkpoints: Checkpoints) -> ChatTokenizer:
    return ChatTokenizer(checkpoints("llama"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_finished_answer_is_what_its_schema_says(name: str, llama: Engine, tokenizer: ChatTokenizer) -> None:
    schema = SCHEMAS[name]
    luck = [Sampling(temperature=t, seed=seed) for t, seed in ((0.0, 0), (1.0, 1), (1.0, 2), (2.0, 3))]
    asked = [
        ask(tokens(seed, 20), seed + 1, n=2, sampling=sampling, max_tokens=MOST_TOKENS, grammar=grammar(schema))
        for seed, sampling in enumerate(luck)
    ]

    outcome = run(llama, *asked)

    assert len(outcome.finished) == 8
    for choice, reason in outcome.finished.items():
        text = tokenizer.decode(outcome.tokens[choice])
        if reason == "stop":
            jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())
        else:
            assert (reason, len(outcome.tokens[choice])) == ("length", MOST_TOKENS)
    assert "stop" in outcome.finished.values() or name == "free text"
