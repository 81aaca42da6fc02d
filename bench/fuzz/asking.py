"""Requests of every route, made bad, put to a whole gateway: no 5xx of its own, and what it keeps is what it said."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI

from bench.fuzz.base import Case, Finding
from bench.fuzz.mutate import TEXTS, mutated, nasty, spelled
from bench.fuzz.speaking import SpeakingBackend
from bench.inprocess import Answer, ask, started
from bench.isolation.asking import said_in
from bench.isolation.town import NOWHERE
from gateway.app import create_app
from gateway.body import Curfew
from gateway.openapi.operations import OPERATIONS
from gateway.services import build
from gateway.settings import CacheSettings, Settings

PART = {"type": "text", "text": "What is a lease?"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CACHE = {
    "ttl": 60,
    "s-maxage": 5,
    "no-cache": False,
    "namespace": "n",
    "tags": ["t"],
    "tiers": ["exact"],
    "min_similarity": 0.5,
}
CHAT: Mapping[str, Any] = {
    "model": "m1",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [PART, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "4"},
        {"role": "user", "content": "And now?"},
    ],
    "temperature": 0.5, "max_tokens": 10, "stop": ["x"], "n": 1, "seed": 1, "logprobs": False, "tools": [TOOL],
    "tool_choice": "auto", "response_format": {"type": "text"}, "stream_options": {"include_usage": True},
    "prediction": {"type": "content", "content": "x"}, "logit_bias": {"1": 2}, "user": "u", "metadata": {"a": "b"},
    "cache": CACHE, "cache_salt": "s",
}  # fmt: skip
SIMPLE: Mapping[str, Any] = {
    "model": "m1",
    "messages": [{"role": "user", "content": "What is a lease?"}],
    "stream": False,
}
MESSAGES: Mapping[str, Any] = {
    "model": "m1", "max_tokens": 10, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image", "source": {"type": "base64", "data": "AA==", "media_type": "image/png"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}, {"type": "thinking", "thinking": "x", "signature": "y"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "4"}], "is_error": False}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"}, "stop_sequences": ["x"],
    "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"}, "top_k": 3,
}  # fmt: skip
RESPONSES: Mapping[str, Any] = {
    "model": "m1", "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "4"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "tool_choice": "auto", "store": False,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}, "reasoning": {"effort": "low"},
    "previous_response_id": "resp_x", "include": ["message.output_text.logprobs"], "max_output_tokens": 5,
}  # fmt: skip
BODIES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "/v1/chat/completions": (CHAT, SIMPLE, {**SIMPLE, "stream": True}),
    "/v1/completions": ({"model": "m1", "prompt": "Once", "stream": True}, {"model": "m1", "prompt": ["a", "b"], "n": 2, "echo": True, "logprobs": 1, "suffix": "x", "best_of": 2}),
    "/v1/responses": (RESPONSES, {"model": "m1", "input": "hi"}, {"model": "m1", "input": "hi", "stream": True}),
    "/v1/messages": (MESSAGES, {"model": "m1", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}),
    "/v1/messages/count_tokens": (MESSAGES,),
    "/v1/embeddings": ({"model": "m1", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 2}, {"model": "m1", "input": [[1, 2], [3]]}, {"model": "m1", "input": "a"}),
    "/v1/cache/lookup": ({"request": SIMPLE, "shape": "chat"}, {"request": dict(RESPONSES), "shape": "responses"}),
    "/v1/cache/feedback": ({"id": "chatcmpl-x", "verdict": "bad", "comment": "no"}, {"entry": "e_x", "verdict": "good"}),
}  # fmt: skip
PUT = {
    "request": SIMPLE, "shape": "chat", "lookup": "lookup-x", "elapsed_s": 1.5,
    "response": {
        "id": "x", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "4", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "stop", "logprobs": {"content": []}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}},
    },
}  # fmt: skip
CONTROLS = (
    "no-cache", "no-store", "max-age=5", "max-age=", "max-age=x", "max-age=99999999999", "only-if-cached", 'max-age="5"', "stale-while-revalidate=5",
    "no-cache, no-store", ",,,", "=", "max-age=5;q=1", "NO-CACHE", "a" * 5000, '"', "max-age=-1", "private=\"x\", no-store",
)  # fmt: skip
ALIASES: Mapping[str, Sequence[str]] = {
    "x-portkey-config": ('{"cache": {"mode": "simple", "max_age": 60}}', '{"cache": []}', "{", "[]", '{"cache":{"mode":5}}', "pc-x"),
    "x-portkey-cache": ("simple", "semantic", "x"),
    "x-portkey-cache-force-refresh": ("true", "maybe"),
    "x-portkey-cache-namespace": ("n", "x" * 300),
    "helicone-cache-enabled": ("true", "false", ""),
    "helicone-cache-seed": ("s", "\xff"),
    "x-bf-cache-key": ("k",),
    "x-bf-cache-ttl": ("30s", "1h30m", "1e9", "999999999999h"),
    "x-bf-cache-threshold": ("0.5", "nan", "inf", "-1", "1e-400"),
    "x-bf-cache-type": ("direct", "semantic", "x"),
    "cf-aig-cache-ttl": ("300", "1.5", "0x10"),
    "x-openrouter-cache": ("on", "2"),
    "op-cache": ("readWrite", "readOnly", "x"),
    "x-vsr-cache-control": ("bypass", "max-age=5", "ttl=x", ",", "max-age"),
    "x-request-timeout": ("5", "x"),
    "authorization": ("Bearer sk-x", "Bearer ", "Basic x", "bearer\tx", "\xff"),
    "x-api-key": ("k", ""),
    "anthropic-version": ("2023-06-01", "x"),
    "anthropic-beta": ("a,b", "\xff"),
    "x-stainless-timeout": ("5", "nan"),
    "origin": ("http://127.0.0.1:8420", "http://evil", "null", "\xff"),
    "sec-fetch-site": ("same-origin", "cross-site"),
    "content-type": ("text/plain", "application/json; charset=utf-16"),
    "traceparent": ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x"),
    "x-request-id": ("x", "a" * 5000, "\xff"),
}  # fmt: skip
QUERIES = (b"", b"", b"limit=5", b"limit=-1", b"limit=99999999999999999999", b"limit=x", b"cursor=%00", b"cursor=5.5.5", b"tenant=x&model=*",
    b"after=1", b"window=1h", b"q=%FF%FE", b"question=x&question=y", b"search=" + b"a" * 3000, b"&&&=", b"limit=1&limit=2", b"seconds=nan", b"minutes=1e9",
    b"dry_run=maybe", b"sort=x", b"since=-5", b"model=m1&namespace=n&tier=exact&state=x", b"format=x")  # fmt: skip
NAMES = (
    "x",
    "e_" + "0" * 24,
    "chatcmpl-x",
    "key_" + "0" * 12,
    "*",
    "anonymous",
    "0" * 32,
    "..",
    "%2e%2e",
    "\0",
    "a/b",
    "\n",
    "\u00e9",
    "m1",
    "speaking",
)
UNTRIED = frozenset({("POST", "/admin/api/models")})  # loads what it is told, from elsewhere if need be
OWN_5XX = ("internal", "error", None)
FEW_S = 1.0  # streams without an end are left after so long


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[tuple[FastAPI, SpeakingBackend, Curfew]]:
    """A whole gateway but for meaning, over a model that says something else every time."""
    settings = Settings(
        data_dir=folder / "data", upstream=NOWHERE, cache=CacheSettings(semantic=False), max_body_mb=1.0
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    services = build(settings)
    backend = SpeakingBackend()
    services.router.add(backend)
    curfew = Curfew()
    app = create_app(services, services.opened, curfew)
    async with started(app):
        yield app, backend, curfew


def _of_callers(rng: random.Random) -> tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes]:
    """A request of an app."""
    if rng.random() < 0.08:
        return "PUT", "/v1/cache/entries", spelled(rng, mutated(rng, PUT)), headers(rng), b""
    path = rng.choice(_PATHS)
    return "POST", path, spelled(rng, mutated(rng, rng.choice(BODIES[path]))), headers(rng), b""


def _of_admins(rng: random.Random) -> tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes]:
    """A request of an operator, or of somebody who tries to be one."""
    one = rng.choice(_ADMIN)
    path = one.path
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + rng.choice(NAMES) + rest.partition("}")[2]
    example: Any = {**_FILLED, **(one.example if isinstance(one.example, dict) else {})}
    if one.body is not None:
        known = list(one.body.model_fields)
        example = {key: example.get(key, nasty(rng)) for key in known if rng.random() < 0.6}
    raw = spelled(rng, mutated(rng, example)) if one.method in ("POST", "PUT", "DELETE") else b""
    if one.takes != "application/json" or path.endswith("/import"):
        raw = b"\n".join(spelled(rng, mutated(rng, line)) for line in _LINES[: rng.randrange(4)])
    method = (
        one.method
        if rng.random() < 0.97
        else rng.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "X"))
    )
    return method, path, raw, headers(rng), rng.choice(QUERIES)


def headers(rng: random.Random) -> list[tuple[bytes, bytes]]:
    """Some that say something to a cache, some that do not."""
    told: list[tuple[bytes, bytes]] = []
    if rng.random() < 0.3:
        told.append((b"cache-control", rng.choice(CONTROLS).encode("latin-1")))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 4))):
        name = rng.choice(list(ALIASES))
        told.append(
            (
                name.encode(),
                rng.choice((*ALIASES[name], rng.choice(TEXTS).encode("utf-8").decode("latin-1"))).encode("latin-1"),
            )
        )
    return told


def asking(draw: Callable[[random.Random], tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes]]) -> Any:
    """A target that puts what is drawn to a gateway."""

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Case]:
        async with gateway(folder) as (app, backend, _):

            async def case(rng: random.Random, outcomes: Counter[str]) -> None:
                method, path, raw, told, query = draw(rng)
                if (method, path) in UNTRIED:
                    outcomes["untried"] += 1
                    return
                if path.endswith(("/events", "/feed", "/live")) or "stream" in path:
                    outcomes["untried"] += 1
                    return
                pieces = rng.choice((1, 1, 1, 2, 7))
                before = backend.calls
                answer = await ask(app, method, path, raw, told, query=query, pieces=pieces)
                outcomes[judged(answer, f"{method} {path} {query!r} {told} {raw[:1500]!r}")] += 1
                is_fresh = backend.calls > before and answer.headers.get("x-twicetold-tier") == "full"
                if answer.status == 200 and is_fresh and answer.headers.get("x-twicetold-entry"):
                    again = await ask(app, method, path, raw, told, query=query)
                    if again.headers.get("x-twicetold-tier") == "exact":
                        outcomes["compared with what was kept"] += 1
                        check_same(answer, again, f"{path} {told} {raw[:1500]!r}")

            yield case

    return opened


def judged(answer: Answer, asked: str) -> str:
    """The kind of answer. Raises `Finding` for what nobody may be told."""
    if not answer.is_whole or not answer.status:
        raise Finding(f"half an answer {answer.status} to {asked}")
    code: Any = ""
    if answer.status >= 400 and answer.body:
        code = _code(answer, asked)
    if answer.status == 500 or (answer.status > 500 and code in OWN_5XX):
        raise Finding(f"{answer.status} {answer.body[:300]!r} to {asked}")
    if b"Traceback" in answer.body:
        raise Finding(f"a traceback is told: {answer.body[:300]!r} to {asked}")
    if any("\n" in value or "\r" in value or "\0" in value for value in answer.headers.values()):
        raise Finding(f"a line break in headers {answer.headers} to {asked}")
    return f"{answer.status} {code}".strip() if answer.status >= 500 else f"{answer.status // 100}xx"


def _code(answer: Answer, asked: str) -> Any:
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return "" if answer.status < 500 else None
    try:
        error = answer.json()["error"]
        assert isinstance(error["message"], str)
        return error.get("code") or error.get("type")
    except (orjson.JSONDecodeError, KeyError, TypeError, AssertionError):
        if "/readyz" in asked:
            return "not ready"
        raise Finding(f"an error of no shape: {answer.body[:300]!r} to {asked}") from None


def check_same(first: Answer, again: Answer, asked: str) -> None:
    """Raises `Finding` unless the two are one answer but for its name and its time."""
    if first.headers["content-type"].startswith("text/event-stream"):
        said, kept = said_in(first), said_in(again)
    else:
        said, kept = (_without_names(answer.json()) for answer in (first, again))
    if said != kept:
        raise Finding(f"kept is {str(kept)[:600]!r}, said was {str(said)[:600]!r} for {asked}")


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        apart = ("id", "created", "created_at", "completed_at", "usage", "item_id")
        return {key: _without_names(item) for key, item in value.items() if key not in apart}
    return [_without_names(item) for item in value] if isinstance(value, list) else value


_PATHS = [path for path in BODIES for _ in range(4 if path == "/v1/chat/completions" else 1)]
_ADMIN = [one for one in OPERATIONS if one.area != "chat"]
_FILLED: Mapping[str, Any] = {
    "request": SIMPLE, "api_key": "sk-x", "tenant": "anonymous", "ids": ["e_x"], "tags": ["t"], "tag": "t", "model": "m1", "namespace": "n", "name": "x",
    "older_than_s": 5, "dry_run": True, "prompts": [SIMPLE], "requests": [SIMPLE], "currency": "USD", "models": {"m1": {"prompt": 1.0, "completion": 2.0}},
    "weight": 1.0, "messages": SIMPLE["messages"], "text": "x", "key": "x", "expires_in_s": 5, "grace_s": 0, "scopes": ["chat"], "lane": "x", "mode": "on",
    "max_wrong_hit_rate": 0.01, "limits": {"requests_per_minute": 5},
}  # fmt: skip
_LINES: Sequence[Any] = (
    {"twicetold": "export", "version": 1, "home": "x"},
    {
        "request": SIMPLE,
        "answer": {"choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]},
    },
    {"end": True, "entries": 1, "skipped": 0},
)
