"""Exact hits while the engine generates at full load, beside hits of the same gateway while it rests.

The engine has the threads it chooses itself and eight answers to decode; the hits are answers of an upstream.
One caller, in blocks that alternate; everything shares the machine's cores, nothing is pinned. A percentile is the
median of those of the blocks: a neighbour that takes a core for one time slice of 4 ms makes the p99 of the block it
meets, and of all of them together. Reading the eight streams takes 1 to 6 % of a core.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.engine.models import DEMO, SMOLLM2_135M, checkpoint_of
from bench.engine.prompts import Prompts
from bench.engine.serving import Engine, Request, serving
from bench.figures import median, percentile
from bench.load import Job, Measured, measure
from bench.processes import ROOT, upstream
from bench.rows import Row, Scale

TALKS = 8
BLOCKS = 5
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
        hits = Job("hit", engine.server.url, bodies, scale.of(800, 200))
        measure([Job("fill", engine.server.url, bodies, BODIES), hits], cpu=None)
        for _ in range(scale.of(BLOCKS, 1)):
            idle += measure([hits], cpu=None)
            with _generating(engine, path):
                busy += measure([hits], cpu=None)
    assert {tier for block in (*idle, *busy) for tier in block.tiers} == {"exact"}, (idle, busy)
    what = f"exact hit while {name} decodes {TALKS} answers"
    beside = "while the engine rests"
    return [
        Row("busy", f"{what}, p{percent}", _usual(busy, percent), "ms", _usual(idle, percent), beside)
        for percent in (99, 50)
    ]


def _usual(blocks: Sequence[Measured], percent: float) -> float:
    return median([percentile(block.total_ms, percent) for block in blocks])


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
