"""Requests of every route, made bad, put to a whole gateway: no 5xx of its own, and what it keeps is what it said."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI

from bench.fuzz.base import Case, Finding
from bench.fuzz.mutate import TEXTS, mutated, nasty, spelled
from bench.fuzz.speaking import SpeakingBackend
from bench.inprocess import Answer, ask, started
from bench.isolation.town import NOWHERE
from gateway.app import create_app
from gateway.body import Curfew
from gateway.openapi.operations import OPERATIONS
from gateway.services import build
from gateway.settings import CacheSettings, Settings

SEEDS: Mapping[str, Any] = orjson.loads(Path(__file__).with_name("seeds.json").read_bytes())  # good, but for headers
BODIES, ALIASES = SEEDS["bodies"], SEEDS["headers"]  # by path, by name
UNTRIED = frozenset((("POST", "/admin/api/models"), ("GET", "/admin/api/live")))  # loads from elsewhere; has no end
_WORDS = ("content", "text", "delta", "arguments", "partial_json", "reasoning_content", "thinking", "refusal")
OWN_5XX = ("internal", "error", None)

_Said = dict[tuple[Any, ...], str]  # by kind of event and field


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


def of_callers(rng: random.Random) -> tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes]:
    """A request of an app."""
    if rng.random() < 0.08:
        return "PUT", "/v1/cache/entries", spelled(rng, mutated(rng, SEEDS["put"])), headers(rng), b""
    path = rng.choice(_PATHS)
    return "POST", path, spelled(rng, mutated(rng, rng.choice(BODIES[path]))), headers(rng), b""


def of_admins(rng: random.Random) -> tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes]:
    """A request of an operator, or of somebody who tries to be one."""
    one = rng.choice(_ADMIN)
    path = one.path
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + rng.choice(SEEDS["names"]) + rest.partition("}")[2]
    example: Any = {**SEEDS["filled"], **(one.example if isinstance(one.example, dict) else {})}
    if one.body is not None:
        known = list(one.body.model_fields)
        example = {key: example.get(key, nasty(rng)) for key in known if rng.random() < 0.6}
    raw = spelled(rng, mutated(rng, example)) if one.method in ("POST", "PUT", "DELETE") else b""
    if one.takes != "application/json" or path.endswith("/import"):
        raw = b"\n".join(spelled(rng, mutated(rng, line)) for line in SEEDS["lines"][: rng.randrange(4)])
    method = (
        one.method
        if rng.random() < 0.97
        else rng.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "X"))
    )
    return method, path, raw, headers(rng), rng.choice(SEEDS["queries"]).encode("latin-1")


def headers(rng: random.Random) -> list[tuple[bytes, bytes]]:
    """Some that say something to a cache, some that do not."""
    told: list[tuple[bytes, bytes]] = []
    if rng.random() < 0.3:
        told.append((b"cache-control", rng.choice(SEEDS["controls"]).encode("latin-1")))
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
        (said, said_whole), (kept, kept_whole) = (_by_kind(answer) for answer in (first, again))
        # one of them may say in pieces what the other says only as a whole
        said, kept = _without(said, kept, kept_whole), _without(kept, said, said_whole)
    else:
        said, kept = (_without_names(answer.json()) for answer in (first, again))
    if said != kept:
        raise Finding(f"kept is {str(kept)[:600]!r}, said was {str(said)[:600]!r} for {asked}")


def _by_kind(answer: Answer) -> tuple[_Said, str]:
    """What a stream says, each kind of it in one, and what it says again as a whole: the order of words and calls, and
    how JSON is spaced, are a replay's own."""
    pieces: _Said = {}
    whole: _Said = {}
    for line in answer.body.split(b"\n"):
        if line.startswith(b"data: {"):
            event = orjson.loads(line[6:])
            is_again = str(event.get("type", "")).endswith(("done", "added", "completed", "start"))
            for choice in event.get("choices", [event]):
                place = (choice.get("index") if choice is not event else None, event.get("type"))
                _kinds(choice, place, whole if is_again else pieces)
    return {kind: said.replace(" ", "") for kind, said in pieces.items()}, " ".join(whole.values()).replace(" ", "")


def _without(said: _Said, other: _Said, other_whole: str) -> _Said:
    """But for the kinds that the other has not in pieces, but as a whole."""
    return {kind: text for kind, text in said.items() if kind in other or text not in other_whole}


def _kinds(value: Any, place: tuple[Any, ...], found: _Said) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and key in _WORDS:
                found[(*place, key)] = found.get((*place, key), "") + item
            else:
                _kinds(item, place, found)
    elif isinstance(value, list):
        for item in value:
            _kinds(item, place, found)


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        apart = ("id", "created", "created_at", "completed_at", "usage", "item_id")
        return {key: _without_names(item) for key, item in value.items() if key not in apart}
    return [_without_names(item) for item in value] if isinstance(value, list) else value


_PATHS = [path for path in BODIES for _ in range(4 if path == "/v1/chat/completions" else 1)]
_ADMIN = [one for one in OPERATIONS if one.area != "chat"]
