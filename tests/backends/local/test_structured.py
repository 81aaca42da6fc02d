"""Answers that must look like something do, whatever the model would rather say.

Random weights are the perfect adversary: every token they like is garbage, and only the grammar stands in the way.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from backends.local.engine.engine import Engine
from backends.local.engine.pace import Pace
from backends.local.params import Sampling
from backends.local.speech.grammar import asked_shape
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.wire import Broken, Token
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


class Always(Pace):
    """Checks every draft there is."""

    def allot(self, chances: Sequence[Sequence[float]]) -> list[int]:
        return list(map(len, chances))


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


def test_an_answer_may_be_cut_by_its_limit_in_the_middle(llama: Engine, tokenizer: ChatTokenizer) -> None:
    outcome = run(llama, ask(tokens(1, 20), max_tokens=5, grammar=grammar(PERSON)))

    text = tokenizer.decode(outcome.tokens[1, 0])
    assert (outcome.finished[1, 0], len(outcome.tokens[1, 0])) == ("length", 5)
    assert text.startswith("{")


def test_a_seed_gives_the_same_answer_alone_and_in_company(llama: Engine) -> None:
    sampling = Sampling(temperature=1.0, seed=7, top_logprobs=2)
    wanted = ask(tokens(1, 20), 1, sampling=sampling, max_tokens=60, grammar=grammar(PERSON))
    others = [
        ask(tokens(2, 30), 2, sampling=Sampling(temperature=1.0), max_tokens=60),
        ask(tokens(3, 40), 3, sampling=Sampling(temperature=1.0), max_tokens=60, grammar=grammar(SCHEMAS["enum"])),
    ]

    alone = run(llama, wanted).tokens[1, 0]
    company = run(llama, wanted, *others)

    assert alone == company.tokens[1, 0]


def test_log_probabilities_are_the_models_own_and_not_those_of_what_was_allowed(llama: Engine) -> None:
    sampling = Sampling(temperature=0.0, top_logprobs=1)
    outcome = run(llama, ask(tokens(1, 20), sampling=sampling, max_tokens=8, grammar=grammar(PERSON)))

    said = [event for event in outcome.events if isinstance(event, Token)]
    assert all(event.logprob is not None and event.logprob <= event.top[0][1] for event in said)
    assert any(event.token_id != event.top[0][0] for event in said)  # the model would rather have said something else


def test_what_is_kept_of_a_prompt_serves_answers_with_a_grammar_too(llama: Engine) -> None:
    prompt = tokens(11, 100)
    cold = run(llama, ask(prompt, 1, max_tokens=60, grammar=grammar(PERSON)))
    warm = run(llama, ask(prompt, 2, max_tokens=60, grammar=grammar(PERSON)))

    assert (cold.cached[1, 0], warm.cached[2, 0] > 64) == (0, True)
    assert cold.tokens[1, 0] == warm.tokens[2, 0]


def test_drafts_change_nothing_and_a_forbidden_one_is_never_said(checkpoints: Checkpoints) -> None:
    plain, drafting = engine(checkpoints("llama")), engine(checkpoints("llama"), pace=Always(), drafts=True)
    prompt = tokens(5, 40)
    for sampling in (Sampling(temperature=0.0), Sampling(temperature=1.0, seed=3)):
        wanted = ask(prompt, sampling=sampling, max_tokens=120, grammar=grammar(PERSON))
        said = run(plain, wanted).tokens[1, 0]
        near = [*said[:20], *tokens(9, 5), *said[20:]]

        assert run(drafting, replace(wanted, drafts=near)).tokens[1, 0] == said


def test_what_a_grammar_forces_is_drafted_and_holds(checkpoints: Checkpoints) -> None:
    sampling = Sampling(temperature=1.0, seed=3)
    only = {"const": {"a cache keeps what was computed": ["so that it need not be computed again", 12345]}}
    wanted = ask(tokens(5, 40), sampling=sampling, max_tokens=120, grammar=grammar(only))
    plain, drafting = engine(checkpoints("llama")), engine(checkpoints("llama"), pace=Always(), drafts=True)

    said = run(plain, wanted), run(drafting, wanted)

    assert said[0].tokens == said[1].tokens
    assert drafting.stats().drafts_accepted > 20
    assert drafting.stats().drafts_rejected < 5  # repeated white space, which is nothing that was forced


def test_a_grammar_that_fails_ends_its_own_request_only(llama: Engine) -> None:
    outcome = run(llama, ask(tokens(1, 20), 1, n=2, grammar="{}"), ask(tokens(2, 20), 2))

    broken = [event for event in outcome.events if isinstance(event, Broken)]
    assert [event.request for event in broken] == [1]
    assert "grammar" in broken[0].reason
    assert outcome.finished.keys() == {(2, 0)}
    assert llama.stats().running == llama.stats().waiting == 0


def test_a_grammar_survives_that_its_sequence_is_preempted(checkpoints: Checkpoints) -> None:
    path = checkpoints("llama")
    roomy, tight = engine(path), engine(path, context_tokens=600, slab_budget_bytes=1)  # two that grow cannot both stay
    long = grammar({"type": "array", "items": {"type": "boolean"}, "minItems": 120, "maxItems": 120})
    asked = [ask(tokens(i, 20), i, max_tokens=570, grammar=long) for i in (1, 2)]

    assert run(tight, *asked).tokens == run(roomy, *asked).tokens
    assert tight.stats().preemptions > 0
