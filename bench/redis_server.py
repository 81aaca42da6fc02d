"""A redis-server that a benchmark starts and ends, with or without data from another time."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from bench.processes import StartFailed

DUMP = "dump.rdb"
_START_S = 60.0


@contextmanager
def redis_server(folder: Path, *, keeps: bool = False) -> Iterator[str]:
    """Its URL, once it has loaded what lies in `folder`; with `keeps` it writes that at the end."""
    if shutil.which("redis-server") is None:
        raise StartFailed("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([*command, "--dbfilename", DUMP], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, socket_timeout=600)  # a large dump takes its time
    try:
        _wait(client, process)
        yield f"redis://127.0.0.1:{port}/0"
        if keeps:
            client.save()
    finally:
        client.close()
        process.terminate()
        process.wait()


def _wait(client: "redis.Redis", process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.ping()
            return
        except (redis.ConnectionError, redis.BusyLoadingError):
            time.sleep(0.02)
    raise StartFailed("redis-server does not start")
