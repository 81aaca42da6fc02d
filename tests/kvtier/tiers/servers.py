"""A Redis server of a test's own, on a port of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


class RedisServer:
    """A real server without persistence."""

    program = "redis-server"

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, protocol=2)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [self.program, *place, "--save", "", *self._options], stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                return
            except redis.RedisError:
                assert time.monotonic() < until, "redis-server does not start"
                time.sleep(0.02)

    def ask(self, *words: str | int) -> str:
        """The answer to a command, as a text."""
        answer: bytes = self.client.execute_command(*words)  # type: ignore[no-untyped-call]
        return answer.decode()

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Take connections and never answer."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """After a hang."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


def serving(folder: Path) -> Iterator[RedisServer]:
    """A running server, ended afterwards."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.kill()


def clustered(folder: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A cluster of two nodes, each with half of the names."""
    options = ("--cluster-enabled", "yes", "--cluster-config-file", "{0}.conf", "--cluster-port", "{1}")
    nodes = [RedisServer(folder, *(option.format(name, _free_port()) for option in options)) for name in ("one", "two")]
    try:
        for node, first in zip(nodes, (0, 8192), strict=True):
            node.start()
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, first + 8191)
        bus = nodes[0]._options[-1]
        nodes[1].ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
        until = time.monotonic() + 20
        while not all(_is_whole(node) for node in nodes):
            assert time.monotonic() < until, "the cluster does not come together"
            time.sleep(0.02)
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.client.close()
            node.kill()


def _is_whole(node: RedisServer) -> bool:
    told = node.ask("CLUSTER", "INFO")
    return "cluster_state:ok" in told and "cluster_slots_assigned:16384" in told


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
