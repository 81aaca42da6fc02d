"""A real gateway process on a free port, driven from outside."""

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from tests.loopback import LOOPBACK, NOBODY

START_S = 120.0  # a busy machine compiles kernels and loads an embedder for a minute


@dataclass(frozen=True)
class Gateway:
    """A gateway that is listening.

    It closes the clients that it hands out when it ends. Left to the collector, the socket of one may be ended before
    the client that would have closed it, and the warning of that falls on whatever test is running then.
    """

    url: str
    process: subprocess.Popen[str]
    log: Path
    clients: list[OpenAI]

    def openai(self, key: str = "sk-test") -> OpenAI:
        http = DefaultHttpxClient(verify=NOBODY)
        client = OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, http_client=http)
        self.clients.append(client)
        return client

    def async_openai(self, key: str = "sk-test") -> AsyncOpenAI:
        http = DefaultAsyncHttpxClient(verify=NOBODY)
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, http_client=http)

    def post(self, body: Any, **headers: str) -> httpx.Response:
        """POST to the chat route: JSON, or bytes as they are."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        address = f"{self.url}/v1/chat/completions"
        return httpx.post(address, headers=headers, timeout=60, **LOOPBACK, **content)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **LOOPBACK)

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.get("/admin/api/stats").json()
        return stats

    def wait(self, *parts: str, within_s: float = START_S) -> None:
        """Until the gateway is ready, and each of `parts` too."""
        deadline = time.monotonic() + within_s
        while True:
            response = self.get("/readyz")
            state = response.json()["parts"]
            if response.status_code == 200 and all(state.get(part) == "ready" for part in parts):
                return
            assert time.monotonic() < deadline, f"not ready: {state}"
            time.sleep(0.05)

    def wait_for(self, reads: Any, wanted: Any, within_s: float = 20.0) -> None:
        """Until `reads(stats)` is `wanted`."""
        deadline = time.monotonic() + within_s
        while (got := reads(self.stats())) != wanted:
            assert time.monotonic() < deadline, f"{got!r} is not {wanted!r}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it the polite way."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


@contextmanager
def running_gateway(data_dir: Path, *flags: str, **settings: str) -> Iterator[Gateway]:
    """Start `twicetold serve` with flags and `TWICETOLD_*` settings; stop it at the end."""
    with started(data_dir, flags, settings) as gateway:
        yield gateway


@contextmanager
def started(
    data_dir: Path, flags: Sequence[str], settings: Mapping[str, str], trust: ssl.SSLContext | None = None
) -> Iterator[Gateway]:
    """The same for one that speaks TLS."""
    ours = ("TWICETOLD_", "OMP_NUM_THREADS")  # a user has none of them
    environment = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    environment |= {f"TWICETOLD_{name.upper()}": text for name, text in settings.items()}
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", str(data_dir), *flags]
    log = data_dir.with_suffix(".log").open("a")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    clients: list[OpenAI] = []
    try:
        yield Gateway(_address(process, trust), process, Path(log.name), clients)
    finally:
        for client in clients:
            client.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()
        log.close()


def _address(process: "subprocess.Popen[str]", trust: ssl.SSLContext | None) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"https?://\S+", line)
    assert found is not None, f"the gateway did not start: {line!r}"
    deadline = time.monotonic() + START_S
    while True:
        try:
            httpx.get(found[0] + "/healthz", trust_env=False, verify=trust or NOBODY)
            return found[0]
        except httpx.TransportError:
            assert time.monotonic() < deadline
            assert process.poll() is None, "the gateway ended"
            time.sleep(0.02)
