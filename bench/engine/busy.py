"""Exact hits while the engine generates at full load, beside hits of the same gateway while it rests.

The engine has the threads it chooses itself and eight answers to decode; the hits are answers of an upstream.
One caller, in blocks that alternate; everything shares the machine's cores, nothing is pinned.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.engine.models import DEMO, SMOLLM2_135M, checkpoint_of
from bench.engine.prompts import Prompts
from bench.engine.serving import Engine, Request, serving
from bench.figures import median, percentile
from bench.load import Job, Measured, measure, merged
from bench.processes import ROOT, upstream
from bench.rows import Row, Scale

TALKS = 8
BODIES = 64
UPSTREAM_MODEL = "test-model"


def run(scale: Scale) -> list[Row]:
    """p50 and p99 of one caller, for each model that is busy."""
    return [row for name in (SMOLLM2_135M, DEMO)[: scale.of(2, 1)] for row in _measure(name, scale)]


def _measure(name: str, scale: Scale) -> list[Row]:
    path = checkpoint_of(name)
    bodies = tuple(_body(index) for index in range(BODIES))
    idle, busy = list[Measured](), list[Measured]()
    with upstream() as backend, serving(path, upstream=backend.url, threads=0, max_running=TALKS) as engine:
        hits = Job("hit", engine.server.url, bodies, scale.of(1000, 200))
        measure([Job("fill", engine.server.url, bodies, BODIES), hits], cpu=None)
        for _ in range(scale.of(3, 1)):
            idle += measure([hits], cpu=None)
            with _generating(engine, path):
                busy += measure([hits], cpu=None)
    resting, loaded = merged(idle), merged(busy)
    assert set(resting.tiers) | set(loaded.tiers) == {"exact"}, (resting.tiers, loaded.tiers)
    what = f"exact hit while {name} decodes {TALKS} answers"
    beside = "while the engine rests"
    return [
        Row("busy", f"{what}, p99", percentile(loaded.total_ms, 99), "ms", percentile(resting.total_ms, 99), beside),
        Row("busy", f"{what}, p50", median(loaded.total_ms), "ms", median(resting.total_ms), beside),
    ]


@contextmanager
def _generating(engine: Engine, path: Path, within_s: float = 60.0) -> Iterator[None]:
    """The engine at work on all its rows, from here to the end; asked from a process of its own."""
    prompts = Prompts(path)
    asks = [Request(prompts.plain(64, number).messages, 2000, is_cold=True) for number in range(TALKS)]
    bodies = tuple(ask.body(engine.model).decode() for ask in asks)
    job = Job("generate", engine.server.url, bodies, 100 * TALKS, TALKS)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(json.dumps([asdict(job)]).encode())
        deadline = time.monotonic() + within_s
        while engine.stats()["running"] < TALKS and time.monotonic() < deadline:
            time.sleep(0.1)
        yield
        running = engine.stats()["running"]
        assert running >= TALKS - 1, f"{running} answers are being generated, not {TALKS}"
    finally:
        process.terminate()
        process.wait()
        engine.stats_at_rest()


def _body(index: int) -> str:
    message = {"role": "user", "content": f"Question number {index}: what is kept?"}
    return json.dumps({"model": UPSTREAM_MODEL, "messages": [message]})
