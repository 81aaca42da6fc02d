"""A gateway and a Redis that a benchmark kills as a crash would, and starts again over what they left behind."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis

from bench.processes import Server, StartFailed, listening, wait_ready

_ORPHAN_S = 120.0  # an engine whose gateway died has ended by then
_START_S = 120.0
_READY_S = 600.0  # of a machine with much else to do


class MortalGateway:
    """`twicetold serve` over one data directory, with one life after another."""

    def __init__(self, data_dir: Path, flags: Sequence[str]) -> None:
        self.data_dir = data_dir
        self.lives = 0
        self._flags = flags
        self._life = ExitStack()
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        """It listens; whatever it loads, it loads behind that."""
        command = ["-m", "gateway", "serve", "--port", "0", "--data-dir", str(self.data_dir), "--log-level", "warning"]
        self._server = self._life.enter_context(listening([*command, *self._flags], within_s=_START_S))
        self.lives += 1

    def wait(self, *parts: str) -> None:
        """Until it serves, and `parts` do, too."""
        deadline = time.monotonic() + _READY_S
        while any(found.get(part) != "ready" for found in [self._parts(deadline)] for part in parts):
            time.sleep(0.05)

    def _parts(self, deadline: float) -> dict[str, str]:
        if (left_s := deadline - time.monotonic()) <= 0:
            raise StartFailed(f"{self.url} is not back within {_READY_S:g} s")
        return wait_ready(self.server, wait_semantic=True, within_s=left_s)

    def kill(self) -> list[str]:
        """SIGKILL; what there is to complain of afterwards."""
        children = psutil.Process(self.server.pid).children(recursive=True)
        os.kill(self.server.pid, signal.SIGKILL)
        self._life.close()
        self._life = ExitStack()
        _, alive = psutil.wait_procs(children, timeout=_ORPHAN_S)
        for child in alive:
            child.kill()
        return [f"a process outlives its gateway: {child.pid}" for child in alive]

    def kill_engine(self) -> bool:
        """SIGKILL to its largest child; False when there is none just now."""
        children = psutil.Process(self.server.pid).children(recursive=True)
        if not children:
            return False
        max(children, key=lambda child: int(child.memory_info().rss)).kill()
        return True

    def stats(self) -> dict[str, Any]:
        """What it says of itself."""
        answer = httpx.get(f"{self.url}/admin/api/stats", timeout=30.0, trust_env=False).raise_for_status()
        stats: dict[str, Any] = answer.json()
        return stats

    def close(self) -> None:
        """End it the polite way."""
        self._life.close()


class MortalRedis:
    """A redis-server whose acknowledged writes outlive its process: what is said is in its append-only file before.

    With `appendfsync no` that file is the kernel's to bring to the disk: it outlives a SIGKILL, and no power cut.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        if shutil.which("redis-server") is None:
            raise StartFailed("redis-server is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "")
        self._command = ["redis-server", *place, "--appendonly", "yes", "--appendfsync", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """And wait until it has read what it left."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + _START_S
        with redis.Redis(port=self.port, socket_timeout=10) as client:
            while True:
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.BusyLoadingError) as error:
                    if self._process.poll() is not None or time.monotonic() > until:
                        raise StartFailed("redis-server does not start") from error
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
