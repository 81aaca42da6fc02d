"""A peer's own server, from its own environment: started, waited for, ended."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.engine.serving import NotAvailable
from bench.processes import Server, pin


@contextmanager
def started(
    name: str, command: Sequence[str], url: str, health: str, *, folder: Path, more: Mapping[str, str], within_s: float
) -> Iterator[Server]:
    """The server at `url` once it says 200 to `health`; `more`: of its environment. Raises `NotAvailable`."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **more}, stdout=said, stderr=said)
        try:
            if not _answers(url + health, process, within_s):
                said.seek(max(0, said.seek(0, os.SEEK_END) - 300))
                raise NotAvailable(f"{name} did not start: {said.read().decode('utf-8', 'replace').strip()}")
            yield Server(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(address: str, process: "subprocess.Popen[bytes]", within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address, timeout=5.0, trust_env=False).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    return False


def pin_all(pid: int, cpu: int | None) -> None:
    """Hold every thread of a process that has been running for a while on one core."""
    tasks = Path(f"/proc/{pid}/task")
    for task in tasks.iterdir() if tasks.exists() else ():
        pin(int(task.name), cpu)
