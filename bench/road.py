"""The road of every request inside the application: processor time and calls of functions, without a socket.

What uvicorn and the kernel take is left out, and so is the express road, which is inside the connection: this is what a
request costs that was never seen byte for byte. The reference is a FastAPI application that reads the same body with a
model and returns the same bytes, asked in the same way. Times are the least of many short blocks, as neighbours only
ever add to them; calls are counted and always the same.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi import FastAPI, Response
from pydantic import BaseModel
from starlette.types import ASGIApp

from bench.inprocess import Answer, ask
from bench.processes import upstream
from bench.rows import Row, Scale
from gateway.app import create_app
from gateway.body import Curfew
from gateway.services import Services, build
from gateway.settings import load_settings

CHAT = "/v1/chat/completions"
DISTINCT = 64
CHARS = 900
BLOCK = 25
REFERENCE = "a FastAPI route with a model, the same bytes"

Ask = Callable[[bytes], Awaitable[Answer]]


def run(scale: Scale) -> list[Row]:
    """Exact hits whole and streamed, and requests passed through; microseconds of the event loop's thread."""
    with upstream("fast") as backend, tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        return asyncio.run(_measured(backend.url, Path(folder), scale))


async def _measured(url: str, folder: Path, scale: Scale) -> list[Row]:
    rows: list[Row] = []
    async with _gateway(url, folder) as app:
        for is_streaming in (False, True):
            kind = "streamed" if is_streaming else "whole"
            bodies = [_body(number, is_streaming) for number in range(DISTINCT)]
            through = [_body(number, is_streaming, tiers=[]) for number in range(DISTINCT)]
            for body in bodies:
                await _asking(app)(body)
            hit = await _asking(app)(bodies[0])
            assert hit.headers["x-twicetold-tier"] == "exact", hit.headers
            beside = await _costs(_asking(_framework(hit.body)), bodies, scale)
            for what, asked in (("exact hit", bodies), ("passed through", through)):
                spent_us, num_calls = await _costs(_asking(app), asked, scale)
                name = f"{what}, {kind}"
                rows.append(Row("road", f"{name}, processor time", spent_us, "us", beside[0], REFERENCE))
                rows.append(Row("road", f"{name}, calls of functions", num_calls, "calls", beside[1], REFERENCE))
    return rows


@asynccontextmanager
async def _gateway(url: str, folder: Path) -> AsyncIterator[ASGIApp]:
    services: Services = build(load_settings({"data_dir": folder, "upstream": url, "cache": {"semantic": False}}, None))
    async with services.opened():
        yield create_app(services, services.opened, Curfew())


def _framework(said: bytes) -> ASGIApp:
    """FastAPI as a thin server is written with it."""
    app = FastAPI()

    class Body(BaseModel):
        model: str
        messages: list[dict[str, Any]]
        stream: bool = False

    @app.post(CHAT)
    async def answer(body: Body) -> Response:
        assert body.messages
        return Response(said, media_type="application/json")

    answer.__globals__.setdefault("Body", Body)
    return app


def _asking(app: ASGIApp) -> Ask:
    return lambda body: ask(app, "POST", CHAT, body)


def _body(number: int, is_streaming: bool, **cache: Any) -> bytes:
    said = f"Question number {number}: {'x' * CHARS}"
    body = {"model": "test-model", "messages": [{"role": "user", "content": said}], "stream": is_streaming}
    return json.dumps({**body, "cache": cache} if cache else body).encode()


async def _costs(one: Ask, bodies: list[bytes], scale: Scale) -> tuple[float, float]:
    """Microseconds of this thread and calls for one request."""
    turns, least_s = cycle(bodies), float("inf")
    for _ in range(scale.of(60, 5)):
        before = time.thread_time()
        for _ in range(BLOCK):
            assert (await one(next(turns))).status == 200
        least_s = min(least_s, time.thread_time() - before)
    with _counted() as calls:
        for _ in range(BLOCK):
            await one(next(turns))
    return least_s / BLOCK * 1e6, calls[0] / BLOCK


@contextmanager
def _counted() -> Iterator[list[int]]:
    """Calls of functions of Python and of C in this thread."""
    calls = [0]

    def count(_: FrameType, event: str, __: Any) -> None:
        calls[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
