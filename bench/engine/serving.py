"""A gateway with a local engine under the settings a row names, and requests to it that say what they were."""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.engine.prompts import Messages
from bench.http1 import Connection
from bench.prefix import usage_of
from bench.processes import Server, StartFailed, gateway
from gateway.settings import EngineSettings

CHAT = "/v1/chat/completions"
THREADS = int(os.environ.get("BENCH_THREADS", "2"))  # of the engine and of what is beside it
START_S = 300.0


class NotAvailable(Exception):
    """Something cannot be measured here; the message says why, for the row."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer. Times are from the first byte sent."""

    first_ms: float
    total_ms: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: greedy, `max_tokens` long, from the KV tier or (`is_cold`) from nothing."""

    messages: Messages
    max_tokens: int = 4
    is_cold: bool = False
    salt: str | None = None
    may_end: bool = False  # where the model does, before `max_tokens`

    def body(self, model: str) -> bytes:
        body: dict[str, Any] = {
            "model": model,
            "messages": self.messages,
            "cache": {"tiers": [] if self.is_cold else ["kv"]},
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "ignore_eos": not self.may_end,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return json.dumps(body if self.salt is None else {**body, "cache_salt": self.salt}).encode()


@dataclass(frozen=True, slots=True)
class Engine:
    """A gateway that serves one local model."""

    server: Server
    model: str

    def ask(self, request: Request) -> Answer:
        """One request by itself."""
        return self.together([request])[0]

    def together(self, requests: Sequence[Request]) -> list[Answer]:
        """All at the same time, each over a connection of its own."""
        return asyncio.run(self._together(requests))

    def seconds(self, requests: Sequence[Request]) -> float:
        """How long all of them take together, connections made before; none of them may find anything cached."""
        answers, seconds = asyncio.run(self._timed(requests))
        assert not any(answer.cached_tokens for answer in answers), answers
        return seconds

    def stats(self) -> dict[str, Any]:
        """What the engine says of itself."""
        answer = httpx.get(f"{self.server.url}/admin/api/stats", timeout=30.0, trust_env=False).raise_for_status()
        engine: dict[str, Any] = answer.json()["engine"]
        return engine

    def stats_at_rest(self, within_s: float = 30.0) -> dict[str, Any]:
        """The same once nothing runs or waits."""
        deadline = time.monotonic() + within_s
        while True:
            stats = self.stats()
            is_at_rest = stats["is_ready"] and not (stats["running"] or stats["waiting"])
            if is_at_rest or time.monotonic() > deadline:
                assert is_at_rest, stats
                return stats
            time.sleep(0.05)

    def process(self) -> psutil.Process:
        """The engine process: the gateway's largest child."""
        children = psutil.Process(self.server.pid).children(recursive=True)
        return max(children, key=lambda child: int(child.memory_info().rss))

    async def _together(self, requests: Sequence[Request]) -> list[Answer]:
        return (await self._timed(requests))[0]

    async def _timed(self, requests: Sequence[Request]) -> tuple[list[Answer], float]:
        async with AsyncExitStack() as stack:
            lanes = [await stack.enter_async_context(Connection(self.server.url, CHAT)) for _ in requests]
            started = time.perf_counter()
            answers = await asyncio.gather(
                *(self.post(lane, request) for lane, request in zip(lanes, requests, strict=True))
            )
            return answers, time.perf_counter() - started

    async def post(self, lane: Connection, request: Request) -> Answer:
        """One request over a connection that is open."""
        timed = await lane.post(request.body(self.model))
        assert timed.status == 200, timed.body
        usage = usage_of(timed.body)
        answer = Answer(
            timed.first_s * 1000,
            timed.total_s * 1000,
            usage["prompt_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            usage["completion_tokens"],
            _text(timed.body),
        )
        is_as_long = answer.completion_tokens == request.max_tokens
        assert is_as_long or request.may_end, f"{request.max_tokens} tokens were asked for: {answer}"
        assert not (request.is_cold and answer.cached_tokens), answer
        return answer


@contextmanager
def serving(path: Path, data_dir: Path | None = None, upstream: str | None = None, **settings: Any) -> Iterator[Engine]:
    """A gateway over the checkpoint in `path`, with `engine.*` settings. Raises `NotAvailable` when it refuses them."""
    known = {field.name for field in fields(EngineSettings)}
    if missing := sorted(set(settings) - known):
        raise NotAvailable(f"engine.{missing[0]} is not a setting here")
    plain = {"threads": THREADS, **({"drafts": False} if "drafts" in known else {})}  # random weights repeat themselves
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**plain, **settings}.items()]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-"))
        config = Path(folder) / "config.toml"
        config.write_text("\n".join(["[engine]", *lines, "[cache]", "semantic = false", ""]), "utf-8")
        flags = ["--model", str(path), "--config", str(config)]
        flags += ["--data-dir", str(data_dir)] if data_dir else []
        flags += ["--upstream", upstream] if upstream else []
        try:
            server = stack.enter_context(gateway(*flags, wait_semantic=False, within_s=START_S))
        except StartFailed as error:
            said = " ".join([str(error), *getattr(error, "__notes__", ())])
            raise NotAvailable(said[-300:]) from error
        yield Engine(server, path.name)


def _text(events: bytes) -> str:
    chunks = [json.loads(line[6:]) for line in events.split(b"\n") if line.startswith(b"data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)
