"""Requests to an ASGI application in this process, without a socket: cheap enough for hundreds of thousands of them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import FastAPI
from starlette.types import ASGIApp, Message

HOST = "127.0.0.1:8420"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True  # whether it said that this is all

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(slots=True)
class _Exchange:
    """One request on its way through the application."""

    parts: list[bytes]
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)
    is_whole: bool = False
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Message:
        if self.parts:
            part = self.parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self.parts)}
        await self.is_over.wait()  # the caller stays until it has its answer
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not self.status, "a second response to one request"
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            assert self.status, "a body before its status"
            assert not self.is_whole, "more after the end"
            self.said.append(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)

    def answer(self) -> Answer:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.headers}
        return Answer(self.status, headers, b"".join(self.said), self.is_whole)


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    body: Any = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    query: bytes = b"",
    pieces: int = 1,
) -> Answer:
    """What the application answers. A body that is no bytes is sent as JSON; `pieces`: how many it comes in."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    size = max(1, -(-len(raw) // pieces))
    exchange = _Exchange([raw[at : at + size] for at in range(0, len(raw), size)] or [b""])
    own = [(b"host", HOST.encode()), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw))]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": "",
        "query_string": query,
        "headers": [*own, *headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8420),
        "state": {},
    }
    try:
        await app(scope, exchange.receive, exchange.send)
    finally:
        exchange.is_over.set()
    return exchange.answer()


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[None]:
    """Hold the application's parts open, as a server does."""
    async with app.router.lifespan_context(app):
        yield
