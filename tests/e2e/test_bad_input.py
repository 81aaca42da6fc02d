"""Bad input is the caller's fault: a 4xx in OpenAI's shape that names the field; the server stays up."""

from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def ask(**changes: Any) -> dict[str, Any]:
    return {**ASK, **changes}


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


BAD: dict[str, tuple[Any, int, str | None]] = {
    "no body": (b"", 400, None),
    "broken JSON": (b'{"model": "m", "messages": [', 400, None),
    "not UTF-8": (b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}', 400, None),
    "NaN": (b'{"model": "m", "temperature": NaN}', 400, None),
    "a list": ([1], 400, None),
    "a number": (b"5", 400, None),
    "no model": ({"messages": ASK["messages"]}, 400, "model"),
    "model is a number": (ask(model=5), 400, "model"),
    "model is empty": (ask(model=""), 400, "model"),
    "no messages": ({"model": "m"}, 400, "messages"),
    "messages is a text": (ask(messages="hi"), 400, "messages"),
    "messages is empty": (ask(messages=[]), 400, "messages"),
    "messages is null": (ask(messages=None), 400, "messages"),
    "a message is a text": (ask(messages=["hi"]), 400, "messages[0]"),
    "a message has no role": (ask(messages=[{"content": "hi"}]), 400, "messages[0].role"),
    "an unknown role": (ask(messages=[{"role": "robot", "content": "hi"}]), 400, "messages[0].role"),
    "content is a number": (ask(messages=[{"role": "user", "content": 5}]), 400, "messages[0].content"),
    "content is missing": (ask(messages=[{"role": "user"}]), 400, "messages[0]"),
    "a part has no type": (ask(messages=[{"role": "user", "content": [{"text": "x"}]}]), 400, "messages[0].content"),
    "a text part has no text": (
        ask(messages=[{"role": "user", "content": [{"type": "text"}]}]),
        400,
        "messages[0].content",
    ),
    "tool calls are a text": (ask(messages=[{"role": "assistant", "tool_calls": "x"}]), 400, "messages[0].tool_calls"),
    "a tool call is a number": (
        ask(messages=[{"role": "assistant", "tool_calls": [5]}]),
        400,
        "messages[0].tool_calls",
    ),
    "a function is a text": (
        ask(messages=[{"role": "assistant", "tool_calls": [{"function": "f"}]}]),
        400,
        "messages[0].tool_calls",
    ),
    "arguments are an object": (
        ask(messages=[{"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}]),
        400,
        "messages[0].tool_calls",
    ),
    "stream is a text": (ask(stream="yes"), 400, "stream"),
    "stream options": (ask(stream_options={"include_usage": "x"}), 400, "stream_options.include_usage"),
    "temperature is a text": (ask(temperature="hot"), 400, "temperature"),
    "n is zero": (ask(n=0), 400, "n"),
    "n is a billion": (ask(n=10**9), 400, "n"),
    "n is a fraction": (ask(n=1.5), 400, "n"),
    "max tokens is zero": (ask(max_tokens=0), 400, "max_tokens"),
    "seed is a text": (ask(seed="x"), 400, "seed"),
    "stop is a number": (ask(stop=5), 400, "stop"),
    "stop holds a number": (ask(stop=["x", 5]), 400, "stop"),
    "a prediction is a text": (ask(prediction="x"), 400, "prediction"),
    "a prediction of another type": (ask(prediction={"type": "x", "content": "y"}), 400, "prediction"),
    "a prediction of pictures": (
        ask(prediction={"type": "content", "content": [{"type": "image_url"}]}),
        400,
        "prediction",
    ),
    "tools is an object": (ask(tools={}), 400, "tools"),
    "cache is a text": (ask(cache="yes"), 400, "cache"),
    "an unknown cache control": (ask(cache={"ttI": 5}), 400, "cache.ttI"),
    "a negative ttl": (ask(cache={"ttl": -5}), 400, "cache.ttl"),
    "an unknown tier": (ask(cache={"tiers": ["gpu"]}), 400, "cache.tiers"),
    "an empty salt": (ask(cache_salt=""), 400, "cache_salt"),
    "a salt that is no text": (ask(cache_salt=[1]), 400, "cache_salt"),
    "deep nesting": (ask(extra=nested(200)), 400, "extra"),
    "nesting past the parser": (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        400,
        None,
    ),
    "too many messages": (ask(messages=[{"role": "user", "content": ""}] * 20_000), 400, "messages"),
    "a body over the limit": (ask(messages=[{"role": "user", "content": "x" * 2**21}]), 413, None),
    "a million tiny messages": (
        b'{"model":"m","messages":[' + b",".join([b'{"role":"user","content":"a"}'] * 1_000_000) + b"]}",
        413,
        None,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name_and_never_reaches_the_backend(
    gateway: Gateway, upstream: RunningUpstream, name: str
) -> None:
    body, status, param = BAD[name]
    entries = gateway.stats()["entries"]
    response = gateway.post(body)

    error = response.json()["error"]
    assert response.status_code == status
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert isinstance(error["message"], str)
    assert error["message"]
    assert upstream.counters().get("requests", 0) == 0
    assert gateway.stats()["entries"] == entries
    assert gateway.get("/healthz").status_code == 200


def test_a_body_that_lies_about_its_length_is_still_limited(gateway: Gateway) -> None:
    def endless() -> Any:
        for _ in range(64):
            yield b"x" * 2**16

    response = httpx.post(f"{gateway.url}/v1/chat/completions", content=endless(), **LOOPBACK, timeout=30)

    assert response.status_code == 413


def test_bad_cache_control_is_refused(gateway: Gateway) -> None:
    response = gateway.post(ASK, **{"Cache-Control": "max-age=soon"})

    assert (response.status_code, response.json()["error"]["param"]) == (400, "Cache-Control")


def test_a_bad_parameter_of_an_address_is_named_in_the_words_too(gateway: Gateway) -> None:
    error = gateway.get("/admin/api/requests?limit=many").json()["error"]

    assert (error["param"], error["message"].partition(":")[0]) == ("limit", "limit")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("GET", "/nowhere", 404)])
def test_wrong_roads_answer_in_the_same_shape(gateway: Gateway, method: str, path: str, status: int) -> None:
    response = httpx.request(method, gateway.url + path, **LOOPBACK)

    assert (response.status_code, response.json()["error"]["type"]) == (status, "invalid_request_error")


def test_half_a_surrogate_pair_is_refused_or_answered_but_never_a_crash(gateway: Gateway) -> None:
    response = gateway.post(b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}')

    assert response.status_code in (200, 400)
    assert orjson.loads(response.content)
