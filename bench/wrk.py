"""Load by wrk, which asks several times faster than a generator in Python can: what is measured is the server.

Where there is no wrk, our own generator asks, and says so: above some ten thousand requests per second it measures
itself.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import median, percentile
from bench.load import Job, Measured, measure, merged
from bench.processes import ROOT, pin

SCRIPT = ROOT / "bench" / "wrk.lua"
PATH = "/v1/chat/completions"
_GUESS_S = 1e-4  # of one request, by which our own generator's number of requests is chosen


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and what it is asked."""

    url: str  # without a path
    bodies: tuple[str, ...]  # one line each
    path: str = PATH


@dataclass(frozen=True, slots=True)
class Pressure:
    """What blocks of load on one target saw, all of them answered with 200. Milliseconds."""

    count: int
    seconds: float
    p50_ms: float  # the median block's
    p90_ms: float
    p99_ms: float
    by: str  # who asked

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def press(
    targets: Mapping[str, Target], *, concurrency: int, seconds: float, turns: int, cpu: int | None
) -> dict[str, Pressure]:
    """Ask every target in turn, `turns` times, for `seconds` each time, over `concurrency` connections."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return _by_ourselves(targets, concurrency, seconds, turns, cpu)
    blocks: dict[str, list[Pressure]] = {name: [] for name in targets}
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        for _ in range(turns):
            for number, (name, target) in enumerate(targets.items()):
                blocks[name].append(_block(wrk, target, Path(folder) / str(number), concurrency, seconds, cpu))
    return {name: together(some) for name, some in blocks.items()}


def together(blocks: Sequence[Pressure]) -> Pressure:
    """Several blocks as one, with the percentiles of the median block."""
    p50_ms, p90_ms, p99_ms = (median([getattr(one, name) for one in blocks]) for name in ("p50_ms", "p90_ms", "p99_ms"))
    count, seconds = sum(one.count for one in blocks), sum(one.seconds for one in blocks)
    return Pressure(count, seconds, p50_ms, p90_ms, p99_ms, blocks[0].by)


def _block(wrk: str, target: Target, file: Path, concurrency: int, seconds: float, cpu: int | None) -> Pressure:
    file.write_text("".join(f"{body}\n" for body in target.bodies), "utf-8")
    # whole seconds are all it takes; one thread, as it is held on one core
    options = ["-t1", f"-c{concurrency}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(SCRIPT)]
    with subprocess.Popen(
        [wrk, *options, target.url, "--", target.path, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        pin(child.pid, cpu)
        said, _ = child.communicate(timeout=seconds + 60)
    last = said.decode().strip().rpartition("\n")[2]
    if child.returncode or not last.startswith("{"):
        raise RuntimeError(f"wrk ended with {child.returncode}: {said.decode()[-500:]}")
    row: dict[str, Any] = json.loads(last)
    assert row["count"] > row["bad"] == 0, f"{target.url}: {row['bad']} bad answers of {row['count']}"
    return Pressure(row["count"], row["seconds"], row["p50_ms"], row["p90_ms"], row["p99_ms"], "wrk")


def _by_ourselves(
    targets: Mapping[str, Target], concurrency: int, seconds: float, turns: int, cpu: int | None
) -> dict[str, Pressure]:
    count = max(concurrency, int(seconds / _GUESS_S / 10))
    jobs = [Job(name, one.url, one.bodies, count, concurrency, one.path) for name, one in targets.items()]
    found = measure(jobs * turns, cpu=cpu)
    return {job.name: _from_ours(found[n :: len(jobs)]) for n, job in enumerate(jobs)}


def _from_ours(blocks: Sequence[Measured]) -> Pressure:
    every = merged(blocks)
    p50_ms, p90_ms, p99_ms = (percentile(every.total_ms, share) for share in (50, 90, 99))
    by = "our own generator, for want of wrk: it bounds the rate"
    return Pressure(every.count, every.seconds, p50_ms, p90_ms, p99_ms, by)
