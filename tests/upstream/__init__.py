"""A real OpenAI-compatible server that behaves, or misbehaves, as told. Plain ASGI on uvicorn.

How it behaves is a mode, written `name` or `name:argument`, taken from (first match) the header `x-mode`, the `model`
of the request when it is a mode, the modes queued for the next requests, the mode of the server. A mode may be
queued or set through `RunningUpstream.control` or `POST /control {"mode": ..., "next": [...], "reset": true}`.

    with running_upstream() as upstream:
        client.post(upstream.base_url + "/chat/completions", ...)
        assert upstream.counters()["requests"] == 1

Under `/NAME/v1` the same is said as another kind of server says it (`dialects`): `/anthropic/v1/messages`.

`python -m tests.upstream --port 9000 --mode fast` runs it alone.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from tests.loopback import LOOPBACK
from tests.upstream.app import UpstreamApp


@dataclass(frozen=True, slots=True)
class RunningUpstream:
    """A server that is listening, seen from the test."""

    base_url: str  # ends in /v1
    app: UpstreamApp

    def counters(self) -> dict[str, int]:
        return dict(self.app.counts)

    def control(self, **changes: Any) -> None:
        httpx.post(self.base_url.removesuffix("/v1") + "/control", json=changes, **LOOPBACK).raise_for_status()

    async def until(self, name: str, value: int, within_s: float = 10.0) -> None:
        """Wait until a counter has this value."""
        async with asyncio.timeout(within_s):
            while self.app.counts[name] != value:  # noqa: ASYNC110 - it changes in another thread
                await asyncio.sleep(0.005)


def address(upstream: RunningUpstream, flavour: str) -> str:
    """The URL an operator would give for a server of this kind."""
    root = upstream.base_url.removesuffix("/v1")
    return f"{root}/azure/openai/deployments/gpt" if flavour == "azure" else f"{root}/{flavour}"


def server_config(app: UpstreamApp) -> uvicorn.Config:
    """Quiet, and quick to stop."""
    # Requests left hanging by a test are cancelled at shutdown.
    return uvicorn.Config(
        app, lifespan="off", log_config=None, log_level="critical", access_log=False, timeout_graceful_shutdown=0
    )


@contextmanager
def running_upstream(mode: str = "normal") -> Iterator[RunningUpstream]:
    """Serve on a free port of the loopback interface, in a thread of this process."""
    app = UpstreamApp(mode)
    server = uvicorn.Server(server_config(app))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield RunningUpstream(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", app)
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive(), "the upstream did not stop"
