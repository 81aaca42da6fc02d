"""How soon after its start a gateway answers, and what it weighs then, beside `python -c pass`.

Each start is of a process with answers already stored: the time to the first exact hit, to the first hit in other words
(the embedder is loaded by then), to the first generated token, and resident memory. Processor time stands beside the
wall's, which lies on a busy machine; each figure is the smallest of a few starts.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.http1 import Connection
from bench.processes import ROOT, Server, gateway, listening, upstream
from bench.questions import questions, reworded
from bench.rows import Row, Scale
from bench.semantic import CHAT

STORED = 12
WITHIN_S = 60.0
PYTHON = "python -c pass"
ALONE = "[cache]\nsemantic = false\n"


@dataclass(frozen=True, slots=True)
class Start:
    """One start. Times are seconds from the call that began it."""

    exact_s: float
    exact_cpu_s: float
    semantic_s: float
    cpu_s: float  # until the semantic hit, its questions included
    resident_mb: float


def run(scale: Scale) -> list[Row]:
    """Fill a data folder, and start on it."""
    times = scale.of(4, 1)
    bare_s, bare_cpu_s, bare_mb = min(_run("-c", "pass") for _ in range(times + 1))
    _, help_cpu_s, help_mb = min(_run("-m", "gateway", "--help") for _ in range(times))
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as name, upstream("echo") as backend:
        folder = Path(name)
        (folder / "alone.toml").write_text(ALONE)
        flags = ("--upstream", backend.url, "--data-dir", str(folder / "kept"))
        with gateway(*flags) as server:
            asyncio.run(_store(server))
        starts = [_start(*flags) for _ in range(times)]
        alone = [_start(*flags, "--config", str(folder / "alone.toml")) for _ in range(times)]
    token_s = min(_first_token() for _ in range(min(times, 2)))
    exact = min(alone, key=lambda one: one.exact_s)
    both = min(starts, key=lambda one: one.exact_s)
    semantic_s = min(one.semantic_s for one in starts)
    note = f"the smallest of {times} starts"
    return [
        Row("start", "--help, processor time", help_cpu_s, "s", bare_cpu_s, PYTHON, f"{help_mb:.0f} MB"),
        Row("start", "first exact hit", both.exact_s, "s", bare_s, PYTHON, note),
        Row("start", "first exact hit, no semantic tier", exact.exact_s, "s", bare_s, PYTHON, note),
        Row("start", "first semantic hit", semantic_s, "s", both.exact_s, "the first exact hit", note),
        Row("start", "first generated token", token_s, "s", bare_s, PYTHON, "the demo model, its load included"),
        Row("start", "processor time until the first exact hit", both.exact_cpu_s, "s", bare_cpu_s, PYTHON),
        Row("start", "processor time until the first semantic hit", both.cpu_s, "s", bare_cpu_s, PYTHON),
        Row("start", "resident, with the embedder", min(one.resident_mb for one in starts), "MB", bare_mb, PYTHON),
        Row("start", "resident, no semantic tier", min(one.resident_mb for one in alone), "MB", bare_mb, PYTHON),
    ]


def _run(*arguments: str) -> tuple[float, float, float]:
    """Wall and processor seconds of a whole process, and what it was resident at its end, in MB."""
    # The child measures itself: what a parent learns of its children is the largest of all of them.
    told = "import resource, runpy, sys; sys.argv = sys.argv[1:]"
    what = "pass" if arguments[0] == "-c" else f"runpy.run_module({arguments[1]!r}, run_name='__main__')"
    code = f"""{told}
try:
    {what}
except SystemExit:
    pass
used = resource.getrusage(resource.RUSAGE_SELF)
import psutil
print(used.ru_utime + used.ru_stime, psutil.Process().memory_info().rss / 1e6, file=sys.stderr)"""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cpu_s, resident_mb = map(float, done.stderr.split()[-2:])
    return time.perf_counter() - started, cpu_s, resident_mb


async def _store(server: Server) -> None:
    async with Connection(server.url, CHAT) as connection:
        for question in questions(STORED):
            await connection.post(_asking(question))


def _start(*flags: str) -> Start:
    started = time.perf_counter()
    command = ["-m", "gateway", "serve", "--port", "0", "--log-level", "warning", *flags]
    with listening(command) as server:
        return asyncio.run(_asked(server, started, is_semantic="--config" not in flags))


async def _asked(server: Server, started: float, *, is_semantic: bool) -> Start:
    known = questions(STORED)
    async with Connection(server.url, CHAT) as connection:
        hit = await connection.post(_asking(known[0]))
        exact_s, exact_cpu_s = time.perf_counter() - started, server.cpu_s()
        assert hit.headers["x-twicetold-tier"] == "exact", hit.headers
        semantic_s = 0.0
        number = 0
        while is_semantic and not semantic_s:
            number += 1  # another end mark each time: what was stored in this wording would be an exact hit
            hit = await connection.post(_asking(f"{reworded(known[number % STORED])} {'!' * number}"))
            if "x-twicetold-similarity" in hit.headers:  # the embedder has read it
                semantic_s = time.perf_counter() - started
            assert time.perf_counter() - started < WITHIN_S, "no hit in other words"
            await asyncio.sleep(0.05)
    used = psutil.Process(server.pid)
    return Start(exact_s, exact_cpu_s, semantic_s, server.cpu_s(), used.memory_info().rss / 1e6)


def _first_token() -> float:
    """With the demo model in an engine of its own: from the start to the first token of an answer."""
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        started = time.perf_counter()
        command = ["-m", "gateway", "serve", "--port", "0", "--log-level", "error", "--data-dir", folder]
        with listening([*command, "--model", "demo"]) as server:
            return asyncio.run(_token_of(server, started))


async def _token_of(server: Server, started: float) -> float:
    body = {"model": "demo", "stream": True, "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}
    async with Connection(server.url, CHAT) as connection:
        while time.perf_counter() - started < WITHIN_S:
            begun = time.perf_counter()
            said = await connection.post(json.dumps(body).encode())
            if said.status == 200:
                return begun - started + said.first_s
            await asyncio.sleep(0.05)
    raise TimeoutError("the demo model generated nothing")


def _asking(question: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": question}]}).encode()
