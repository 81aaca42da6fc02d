"""What an answer must look like: from the fields of a request to a grammar in the words of llguidance.

The gateway builds the text and has it checked, so what cannot be enforced is refused by the name of its field; the
engine process compiles it again beside its vocabulary (`matcher`). The texts are JSON, and are all the engine knows.

What is produced from a JSON schema is meant to be read by any parser: white space between tokens is bounded (a model
that loops on it would never end), and escapes of single UTF-16 units are left out (half a pair is no character).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from backends.chat import Fields
from backends.errors import RequestRejected

MAX_CHARS = 256 * 1024  # of a schema or grammar
MOST_CHECKED = 64  # grammars of which it is known what is wrong with them
OPTIONS: dict[str, Any] = {
    "whitespace_pattern": r" |\n[ ]{0,40}|\n\t{0,10}",  # compact, spaced, or a line and its indent
    "json_allowed_escapes": 'nrbtf\\"',
}
LIMITS = LLParserLimits(verbose_errors=False)
OBJECT: Fields = {"type": "object"}
GUIDES = ("json", "regex", "choice", "grammar")  # vLLM's names: `structured_outputs` or `guided_...`


@dataclass(frozen=True, slots=True)
class Shape:
    """A grammar, and the field of the request it comes from."""

    grammar: str
    param: str


def asked_shape(given: Fields) -> Shape | None:
    """What the answer must look like, not yet checked; None: anything. Raises `RequestRejected`."""
    found = [shape for shape in (_response_format(given), *_guides(given)) if shape is not None]
    if len(found) > 1:
        raise _refused(f"{found[0].param} already says what the answer must look like", found[1].param)
    return found[0] if found else None


def check(shape: Shape) -> None:
    """Compile a grammar over bytes, and take its first steps: in milliseconds, seconds for one of thousands of parts.

    Python's lock is free meanwhile. Raises `RequestRejected` naming the field.
    """
    if complaint := _complaint(shape.grammar):
        told = " ".join(complaint.replace("<non-verbose/>", "").split())
        raise _refused(f"it cannot be enforced: {told[:300]}", shape.param)


@lru_cache(MOST_CHECKED)
def _complaint(grammar: str) -> str:
    matcher = LLMatcher(_byte_vocabulary(), grammar, log_level=0, limits=LIMITS)
    matcher.consume_tokens(matcher.compute_ff_tokens())
    matcher.compute_bitmask()
    return matcher.get_error()


@cache
def _byte_vocabulary() -> LLTokenizer:
    return LLTokenizer("byte")


def of_schema(schema: Any, param: str) -> Shape:
    """A JSON value that a schema describes."""
    return Shape(json.dumps({"grammars": [{"json_schema": embedded(schema, param)}]}), param)


def embedded(schema: Any, param: str) -> Fields:
    """A schema with our options, as it stands in a grammar. Raises `RequestRejected`."""
    if not isinstance(schema, Mapping):
        raise _refused("it must be an object", param)
    for part in _parts(schema):
        least, required = part.get("minProperties", 0), part.get("required")
        if isinstance(least, int | float) and least > max(1, len(required) if isinstance(required, list) else 0):
            raise _refused("minProperties cannot be enforced beyond 1 and what is required", param)
    text = json.dumps(schema)
    if len(text) > MAX_CHARS:
        raise _refused(f"it has {len(text)} characters; at most {MAX_CHARS} are taken", param)
    return {**schema, "x-guidance": OPTIONS}


def of_lark(lark: str, param: str) -> Shape:
    """A text that a grammar in llguidance's variant of Lark produces."""
    return Shape(json.dumps({"grammars": [{"lark_grammar": lark}]}), param)


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and every object in it."""
    rest = [schema]
    while rest:
        part = rest.pop()
        if isinstance(part, Mapping):
            yield part
            rest.extend(part.values())
        elif isinstance(part, list):
            rest.extend(part)


def _response_format(given: Fields) -> Shape | None:
    name = "response_format"
    wanted = given.get(name, {"type": "text"})
    match wanted:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return of_schema(OBJECT, name)
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return of_schema(schema, f"{name}.json_schema.schema")
        case {"type": "json_schema", "json_schema": Mapping()}:
            raise _refused("it is missing", f"{name}.json_schema.schema")
        case {"type": "json_schema"}:
            raise _refused("it must be an object with a schema", f"{name}.json_schema")
        case Mapping():
            raise _refused("it must be text, json_object or json_schema", f"{name}.type")
        case _:
            raise _refused("it must be an object with a type", name)


def _guides(given: Fields) -> Iterator[Shape | None]:
    together = given.get("structured_outputs", {})
    if not isinstance(together, Mapping):
        raise _refused(f"it must be an object with one of {', '.join(GUIDES)}", "structured_outputs")
    for guide in GUIDES:
        if together.get(guide) is not None:
            yield _guide(guide, together[guide], f"structured_outputs.{guide}")
        if (value := given.get(f"guided_{guide}")) is not None:
            yield _guide(guide, value, f"guided_{guide}")


def _guide(guide: str, value: Any, param: str) -> Shape:
    if guide == "json":
        return of_schema(_parsed(value, param), param)
    if guide == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
            raise _refused("it must be a list of texts, none empty", param)
        return of_lark("start: " + " | ".join(map(json.dumps, value)), param)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CHARS:
        raise _refused(f"it must be a text of 1 to {MAX_CHARS} characters", param)
    if guide == "regex":
        return Shape(LLMatcher.grammar_from_regex(value), param)
    return of_lark(value, param)


def _parsed(value: Any, param: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as exc:
        raise _refused(f"it is not JSON: {exc}", param) from exc


def _refused(why: str, param: str) -> RequestRejected:
    return RequestRejected(f"{param}: {why}.", param=param, code="invalid_value")
