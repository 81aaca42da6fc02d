"""Processes a benchmark starts and ends: a gateway, a test upstream, anything that prints its address.

Every process is ended by its own handle. Pinning is done from outside right after the start, while the process has
one thread, so what it starts later inherits it.
"""

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(rb"(http://\S+)")
_STOP_S = 20.0


class StartFailed(Exception):
    """A process did not come up; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that listens at `url`."""

    url: str
    pid: int

    def has_ended(self) -> bool:
        """Whether the process is over, waited for or not."""
        return not psutil.pid_exists(self.pid) or psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE

    def cpu_s(self) -> float:
        """Processor time it and its children have used so far; neighbours change it less than wall time."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(one.cpu_times().user + one.cpu_times().system for one in family))


@contextmanager
def listening(
    arguments: Sequence[str], *, cpu: int | None = None, within_s: float = 60.0, under: Sequence[str] = ()
) -> Iterator[Server]:
    """Run `python ARGUMENTS` from the repository's root, under a tool where one is named, until it prints its address;
    ends it."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*under, sys.executable, *arguments], cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=errors
        )
        try:
            pin(process.pid, cpu)
            yield Server(_address(process, within_s), process.pid)
        except Exception as error:
            error.add_note(f"{arguments[1]} said: {_tail(errors)}")
            raise
        finally:
            _end(process)


@contextmanager
def gateway(
    *arguments: str, cpu: int | None = None, wait_semantic: bool = True, within_s: float = 120.0
) -> Iterator[Server]:
    """A gateway on a free port with a data directory of its own, once it is ready."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-"))
        command = ["-m", "gateway", "serve", "--port", "0", "--data-dir", folder, "--log-level", "warning", *arguments]
        server = stack.enter_context(listening(command, cpu=cpu))
        wait_ready(server, wait_semantic=wait_semantic, within_s=within_s)
        yield server


@contextmanager
def upstream(mode: str = "normal", *, cpu: int | None = None) -> Iterator[Server]:
    """The tests' OpenAI-compatible server; its URL ends in /v1."""
    with listening(["-m", "tests.upstream", "--port", "0", "--mode", mode], cpu=cpu) as server:
        yield server


def wait_ready(server: Server, *, wait_semantic: bool, within_s: float) -> dict[str, str]:
    """Wait until a gateway is ready; returns its parts. Raises `StartFailed`, at once when the process has ended."""
    url = server.url
    deadline = time.monotonic() + within_s
    state = "it does not answer"
    while time.monotonic() < deadline and not server.has_ended():
        try:
            answer = httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False)
        except httpx.TransportError as error:
            state = str(error)
        else:
            parts: dict[str, str] = answer.json()["parts"]
            state = str(parts)
            semantic = parts.get("semantic", "off")
            if answer.status_code == 200 and (not wait_semantic or semantic in ("ready", "off")):
                return parts
            if semantic.partition(":")[0] not in ("ready", "off", "loading"):
                raise StartFailed(f"{url} has no semantic tier: {semantic}")
        time.sleep(0.1)
    raise StartFailed(f"{url} did not become ready within {within_s:g} s: {state}")


def two_cpus() -> tuple[int | None, int | None]:
    """A core for the server and another for everything that drives it; (None, None) on a single core."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[0], cpus[-1]) if len(cpus) > 1 else (None, None)


def pin(pid: int, cpu: int | None) -> None:
    """Hold a process (0: this one) on one core."""
    if cpu is not None:
        os.sched_setaffinity(pid, {cpu})


def _environment() -> dict[str, str]:
    """This process's environment without settings of a gateway: a benchmark names all of them itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TWICETOLD_")}


def _address(process: "subprocess.Popen[bytes]", within_s: float) -> str:
    assert process.stdout is not None
    deadline, said = time.monotonic() + within_s, b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        piece = os.read(process.stdout.fileno(), 4096)
        said += piece
        if (found := _ADDRESS.search(said)) and said.endswith(b"\n"):
            return found[1].decode().rstrip("/")
        if not piece:
            break
    raise StartFailed(f"{process.args!r} printed no address")


def _tail(errors: IO[bytes], size_bytes: int = 3000) -> str:
    """The end of what a process wrote to its standard error."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - size_bytes))
    return errors.read().decode("utf-8", "replace").strip() or "nothing"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
