"""The test upstream's ASGI application: routes, counters, and the choice of a mode."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.upstream.answers import embeddings
from tests.upstream.chaos import Chaos
from tests.upstream.dialects import DIALECTS, Dialect
from tests.upstream.modes import MODES, Ask, Receive, Send, error, fast

CHAT = ("/chat/completions", "/v1/messages")
HEALTH = ("/health", "/readyz", "/openai/models")


@dataclass(slots=True)
class UpstreamApp:
    """The ASGI application and what it counts."""

    mode: str = "normal"
    next_modes: deque[str] = field(default_factory=deque)
    model_names: tuple[str, ...] = ("test-model",)
    counts: dict[str, int] = field(default_factory=dict)
    received: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=100))  # bodies, newest last
    clients: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=100))  # one address per connection
    headers: dict[str, str] = field(default_factory=dict)  # of the newest chat request
    address: str = ""  # its path and query
    chaos: Chaos = field(default_factory=Chaos)
    responses: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None  # its Responses API: a body's events

    def __post_init__(self) -> None:
        self.counts = {"requests": 0, "active": 0, "disconnects": 0, "models": 0, "probes": 0}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        raw, headers = await _read(receive), {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
        dialect, path = _dialect(scope["path"])
        route = (scope["method"], path)
        if scope["method"] == "POST" and path.endswith(CHAT):
            self.clients.append(tuple(scope["client"]))
            self.address = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
            await self._chat(Ask({}, raw, headers, "", send, dialect), receive)
            return
        ask = Ask({}, raw, headers, "", send, dialect)
        if route == ("POST", "/v1/responses") and self.responses is not None:
            await self._respond(ask, self.responses)
            return
        if scope["method"] == "GET" and path in HEALTH:
            self.counts["probes"] += 1
            await ask.reply(b'{"status":"ok"}', 503 if self.mode == "error:503" else 200)
        elif route == ("GET", "/metrics") and dialect.figures:
            await ask.reply(dialect.figures.encode(), 200, (b"content-type", b"text/plain"))
        elif scope["method"] == "POST" and path.endswith("/embeddings"):
            await self._embed(ask)
        elif route == ("POST", "/v1/messages/count_tokens"):
            self.received.append(orjson.loads(raw))
            await ask.reply(orjson.dumps({"input_tokens": len(raw.split())}))
        elif route == ("GET", "/v1/models"):
            self.counts["models"] += 1
            await self._models(ask)
        elif route == ("GET", "/counters"):
            await ask.reply(orjson.dumps({**self.counts, **self.chaos.did}))
        elif route == ("POST", "/control"):
            self.control(**orjson.loads(raw))
            await ask.reply(b"{}")
        else:
            await ask.reply(b'{"detail":"Not Found"}', 404)

    def control(self, *, mode: str | None = None, next: list[str] | None = None, reset: bool = False) -> None:
        """Set the mode, queue modes for the next requests, or start counting from zero."""
        if reset:
            self.mode, self.counts = "normal", {**dict.fromkeys(self.counts, 0), "active": self.counts["active"]}
            self.next_modes.clear()
            self.received.clear()
            self.clients.clear()
        self.mode = mode or self.mode
        self.next_modes.extend(next or ())

    async def _chat(self, ask: Ask, receive: Receive) -> None:
        ask.body = orjson.loads(ask.raw)
        self.counts["requests"] += 1
        self.counts["active"] += 1
        self.received.append(ask.body)
        self.headers = ask.headers
        try:
            name, _, ask.argument = self._mode_of(ask.body, ask.headers).partition(":")
            if name == "fast":
                await fast(ask)
            elif not await _until_gone((self.chaos if name == "chaos" else MODES[name])(ask), receive):
                self.counts["disconnects"] += 1
        finally:
            self.counts["active"] -= 1

    async def _embed(self, ask: Ask) -> None:
        """A vector for every item, the same for the same item; `slow:0.2` takes its time, `error:` fails."""
        body = orjson.loads(ask.raw)
        self.counts["embedded"] = self.counts.get("embedded", 0) + 1
        self.received.append(body)
        name, _, ask.argument = self._mode_of(body, ask.headers).partition(":")
        if name == "error":
            await error(ask)
            return
        await asyncio.sleep(float(ask.argument or 0) if name == "slow" else 0)
        await ask.reply(orjson.dumps(embeddings(body)))

    async def _respond(self, ask: Ask, responses: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
        """The events of a response, or the whole one that the last of them has."""
        ask.body = orjson.loads(ask.raw)
        self.counts["requests"] += 1
        self.received.append(ask.body)
        events = responses(ask.body)
        if ask.is_stream:
            await ask.start(200, (b"content-type", b"text/event-stream; charset=utf-8"))
            for event in events:
                await ask.write(b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n")
            await ask.write(b"", more=False)
        else:
            await ask.reply(orjson.dumps(events[-1]["response"]))

    def _mode_of(self, body: dict[str, Any], headers: dict[str, str]) -> str:
        if "x-mode" in headers:
            return headers["x-mode"]
        model = str(body.get("model"))
        if model.partition(":")[0] in MODES:
            return model
        return self.next_modes.popleft() if self.next_modes else self.mode

    async def _models(self, ask: Ask) -> None:
        if self.mode.startswith("error"):
            ask.argument = self.mode.partition(":")[2]
            await error(ask)
            return
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "tests"} for name in self.model_names]
        await ask.reply(orjson.dumps({"object": "list", "data": models}))


def _dialect(path: str) -> tuple[Dialect, str]:
    """Whose words the path asks for, and the path without that."""
    first, _, rest = path[1:].partition("/")
    return (DIALECTS[first], f"/{rest}") if first and first in DIALECTS else (DIALECTS[""], path)


async def _read(receive: Receive) -> bytes:
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


async def _until_gone(work: Awaitable[None], receive: Receive) -> bool:
    """Do `work` unless the client goes away first; whether it was done."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    is_done = working.done()
    for task in (working, leaving):
        task.cancel()
    await asyncio.wait({working, leaving})
    if is_done:
        working.result()
    return is_done
