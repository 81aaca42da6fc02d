"""A server of another engine: started with what it is told, asked over HTTP with token ids, ended by its handle."""

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bench.engine.serving import NotAvailable
from bench.http1 import Connection, Timed


@dataclass(frozen=True, slots=True)
class Wish:
    """A greedy, streamed completion of exactly `max_tokens`."""

    token_ids: Sequence[int]
    max_tokens: int
    is_cold: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it."""

    first_ms: float
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a kind of server is asked, and how its answer is read."""

    path: str
    body: Callable[[Wish], dict[str, Any]]
    read: Callable[[list[dict[str, Any]], Wish], tuple[int, int]]  # events -> cached tokens, completion tokens


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server."""

    name: str  # with its precision
    url: str
    dialect: Dialect

    def ask(self, wish: Wish) -> Seen:
        return self.together([wish])[0][0]

    def together(self, wishes: Sequence[Wish]) -> tuple[list[Seen], float]:
        """All at the same time, and the seconds they take together."""
        return asyncio.run(self._together(wishes))

    async def _together(self, wishes: Sequence[Wish]) -> tuple[list[Seen], float]:
        async with AsyncExitStack() as stack:
            lanes = [await stack.enter_async_context(Connection(self.url, self.dialect.path)) for _ in wishes]
            bodies = [json.dumps(self.dialect.body(wish)).encode() for wish in wishes]
            started = time.perf_counter()
            answers = await asyncio.gather(*(lane.post(body) for lane, body in zip(lanes, bodies, strict=True)))
            seconds = time.perf_counter() - started
        return [self._read(timed, wish) for timed, wish in zip(answers, wishes, strict=True)], seconds

    def _read(self, timed: Timed, wish: Wish) -> Seen:
        assert timed.status == 200, timed.body
        lines = (line[6:] for line in timed.body.split(b"\n") if line.startswith(b"data: {"))
        cached, made = self.dialect.read([json.loads(line) for line in lines], wish)
        assert made == wish.max_tokens, f"{self.name}: {made} tokens instead of {wish.max_tokens}"
        assert not (wish.is_cold and cached), f"{self.name}: {cached} tokens were cached"
        return Seen(timed.first_s * 1000, cached, made)


@contextmanager
def running(
    name: str, command: Sequence[str], port: int, dialect: Dialect, environment: Mapping[str, str], within_s: float
) -> Iterator[Peer]:
    """Start a server and wait until it is healthy. Raises `NotAvailable` with what it said."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **environment})
        try:
            url = f"http://127.0.0.1:{port}"
            if not _is_healthy(url, process, within_s):
                said.seek(max(0, said.seek(0, os.SEEK_END) - 400))
                raise NotAvailable(f"{name} did not start: {said.read().decode('utf-8', 'replace').strip()}")
            yield Peer(name, url, dialect)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _is_healthy(url: str, process: "subprocess.Popen[bytes]", within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=2.0, trust_env=False).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    return False
