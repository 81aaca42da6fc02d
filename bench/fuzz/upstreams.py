"""What an upstream says, made bad, behind a whole gateway: whoever asks gets a complete answer or a clear error, and
what is kept is what was said."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from bench.fuzz.asking import check_same, judged
from bench.fuzz.base import Case, Finding
from bench.fuzz.saying import SAYS, reply
from bench.inprocess import Answer, ask, started
from gateway.app import create_app
from gateway.body import Curfew
from gateway.services import Services, build
from gateway.settings import CacheSettings, Settings, UpstreamSettings

TIMEOUTS = UpstreamSettings(connect_s=5.0, first_token_s=0.5, idle_s=0.3, total_s=1.0)


class Upstream:
    """Says to every request what it was told to say."""

    def __init__(self) -> None:
        self.says = b""
        self.closes = True
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            await reader.readexactly(length)
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 404 None\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            else:
                self.asked += 1
                writer.write(self.says)
                await writer.drain()
                if not self.closes:
                    await asyncio.sleep(5)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


class Gateways:
    """A gateway before a server of either flavour."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._open: dict[str, tuple[FastAPI, Services, AsyncExitStack]] = {}

    async def app(self, flavour: str) -> FastAPI:
        """The one before this flavour. Where it believes its server to have no Responses API, which it would not be
        asked for again for minutes, it starts anew."""
        if flavour in self._open:
            app, services, stack = self._open[flavour]
            if flavour != "openai" or all(member.model("m").speaks_responses for member in services.router.members):
                return app
            await stack.aclose()
        settings = Settings(
            data_dir=self._folder / flavour, upstream=self._url, upstream_flavour=flavour, upstream_models=("m",),
            timeouts=TIMEOUTS, cache=CacheSettings(semantic=False),
        )  # fmt: skip
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        services = build(settings)
        app = create_app(services, services.opened, Curfew())
        stack = AsyncExitStack()
        await stack.enter_async_context(started(app))
        self._open[flavour] = app, services, stack
        return app

    async def close(self) -> None:
        for _, _, stack in self._open.values():
            await stack.aclose()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Case]:
    """A server that says what it is told to, and gateways before it."""
    async with AsyncExitStack() as stack:
        upstream = Upstream()
        server = await stack.enter_async_context(await asyncio.start_server(upstream.serve, "127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        gateways = Gateways(folder, url)
        stack.push_async_callback(gateways.close)

        async def case(rng: random.Random, outcomes: Counter[str]) -> None:
            kind = rng.choice(tuple(SAYS))
            path, body = _asks(rng, kind)
            is_stream = bool(body.get("stream"))
            upstream.says, upstream.closes = reply(rng, kind, f"w{rng.randrange(10**9)}", is_stream=is_stream)
            app = await gateways.app("anthropic" if kind == "anthropic" else "openai")
            told = f"{path} {body} when told {upstream.says[:3000]!r}"
            answer = await ask(app, "POST", path, body)
            outcomes[f"{'streamed' if is_stream else 'whole'}: {judged(answer, told)}"] += 1
            check_whole(answer, told)
            upstream.says = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
            again = await ask(app, "POST", path, body)
            if again.status == 200 and again.headers.get("x-twicetold-tier") == "exact":
                outcomes["kept"] += 1
                if answer.status != 200 or b'"error"' in answer.body[-2000:].replace(b'"error":null', b""):
                    raise Finding(f"an answer is kept that was told as an error: {again.body[:500]!r} for {told}")
                check_same(answer, again, told)

        yield case


def check_whole(answer: Answer, told: str) -> None:
    """Raises `Finding` for a stream that says neither that it is complete nor why it is not."""
    if answer.status != 200 or not answer.headers["content-type"].startswith("text/event-stream"):
        return
    ends = (
        b"data: [DONE]",
        b'"error"',
        b"message_stop",
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
    )
    if not any(end in answer.body for end in ends):
        raise Finding(f"a stream without an end: {answer.body[-400:]!r} for {told}")


def _asks(rng: random.Random, kind: str) -> tuple[str, dict[str, Any]]:
    """What nobody has asked before, in a shape that its server is asked in."""
    words = f"What is {rng.random()}?"
    turns = [{"role": "user", "content": words}]
    shape = rng.choice(
        {"embeddings": ("embeddings",), "responses": ("responses",)}.get(
            kind, ("chat", "chat", "messages", "completions", "responses")
        )
    )
    stream: dict[str, Any] = {"stream": True} if rng.random() < 0.6 else {}
    match shape:
        case "embeddings":
            return "/v1/embeddings", {"model": "m", "input": [words, "x" + words]}
        case "responses":
            native = {"include": ["file_search_call.results"], "truncation": "auto"} if kind == "responses" else {}
            return "/v1/responses", {"model": "m", "input": words, **native, **stream}
        case "messages":
            return "/v1/messages", {"model": "m", "max_tokens": 50, "messages": turns, **stream}
        case "completions":
            return "/v1/completions", {"model": "m", "prompt": words, **stream}
    return "/v1/chat/completions", {"model": "m", "messages": turns, **stream}
