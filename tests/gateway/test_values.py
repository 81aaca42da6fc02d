"""A body holds so many values that reading it holds up nobody, and what holds more is refused before it is read."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.app import SHAPES
from gateway.body import LARGE_BYTES, Turns
from gateway.curation.lines import parsed
from gateway.embedded.request import parse_embeddings
from gateway.errors import BodyTooLarge, InvalidRequest, retry_headers
from gateway.routes.reading import read_request
from gateway.values import MAX_TOKENS, MAX_VALUES, check_values

MANY = 200_000
PARTS = [{"type": "text", "text": 'a, "b" [ \\'}] * MANY
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}] * MANY
BIAS = dict.fromkeys(map(str, range(MANY)), 1)
IDS = list(range(2 * MANY))
ASKED = [{"role": "user", "content": "What?"}]
CROWDED: list[tuple[str, str, dict[str, Any]]] = [
    ("chat", "messages", {"messages": [{"role": "user", "content": PARTS}]}),
    ("chat", "tools", {"messages": ASKED, "tools": TOOLS}),
    ("chat", "logit_bias", {"messages": ASKED, "logit_bias": BIAS}),
    ("completions", "prompt", {"prompt": IDS}),
    ("completions", "logit_bias", {"prompt": IDS[:100_000], "logit_bias": BIAS}),
    ("messages", "messages", {"messages": [{"role": "user", "content": PARTS}]}),
    ("messages", "system", {"messages": ASKED, "system": PARTS}),
    ("messages", "tools", {"messages": ASKED, "tools": TOOLS}),
    ("responses", "input", {"input": [{"role": "user", "content": PARTS}]}),
    ("responses", "tools", {"input": "What?", "tools": TOOLS}),
    ("embeddings", "input", {"input": IDS}),
    ("embeddings", "user", {"input": "a", "user": BIAS}),
]
PARSES: dict[str, Callable[[bytes], Any]] = {shape.route: shape.parse for shape in SHAPES.values()} | {
    "embeddings": parse_embeddings
}


@pytest.mark.parametrize(("route", "field", "body"), CROWDED, ids=[f"{route} {field}" for route, field, _ in CROWDED])
def test_a_body_of_very_many_values_is_refused_by_the_name_of_its_field(
    route: str, field: str, body: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest, match="too many values") as refusal:
        PARSES[route](orjson.dumps({"model": "m", **body}))
    assert refusal.value.param == field


async def test_a_request_inside_another_body_and_a_line_of_an_import_have_the_bound_too() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await read_request(None, {"model": "m", "messages": ASKED, "tools": TOOLS}, "")  # type: ignore[arg-type]
    assert refusal.value.param == "request.tools"
    with pytest.raises(InvalidRequest, match="too many values"):
        parsed(orjson.dumps({"kind": "entry", "request": [0] * 1_000_001}))


def test_tokens_and_texts_that_look_like_lists_are_taken() -> None:
    request = PARSES["completions"](orjson.dumps({"model": "m", "prompt": IDS[:MAX_TOKENS]})).request
    assert request.prompt == IDS[:MAX_TOKENS]
    assert len(parse_embeddings(orjson.dumps({"model": "m", "input": [IDS[:8192]] * 36})).items) == 36
    text = '[1,2,"\\",{},' * MANY
    said = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    assert PARSES["chat"](said).request.messages[0]["content"] == text


@pytest.mark.parametrize("most", [5, MAX_VALUES])
def test_values_are_counted_exactly_outside_of_texts(most: int) -> None:
    check_values(orjson.dumps(['a,[\\"'] * (most - 1)), most)
    with pytest.raises(InvalidRequest):
        check_values(orjson.dumps(['a,[\\"'] * most), most)


def test_who_declares_too_large_a_body_is_told_that_the_connection_ends() -> None:
    assert (b"connection", b"close") in retry_headers(BodyTooLarge("x"))


async def test_between_two_large_bodies_that_come_together_others_run() -> None:
    turns, seen = Turns(), list[str]()

    async def read(raw: bytes) -> None:
        await turns.wait(raw)
        seen.append("body")

    async def other() -> None:
        while seen.count("body") < 5:
            seen.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(other(), *(read(bytes(LARGE_BYTES)) for _ in range(5)))
    assert "body body" not in " ".join(seen)
