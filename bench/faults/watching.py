"""A gateway process seen from outside while it is under load: memory, descriptors, tasks; and whether memory grows."""

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

import httpx
import psutil

_METRIC = re.compile(r"^(twicetold_\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)
T95 = 1.96
Finding = Literal["flat", "it grows", "not shown to be flat"]


@dataclass(frozen=True, slots=True)
class Look:
    """One moment. Memory in MiB."""

    at_s: float
    gateway_mb: float
    engines_mb: float
    descriptors: int
    tasks: int
    under_way: int
    connections: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def metrics_of(url: str) -> dict[str, float]:
    """What the gateway counts: name and labels -> value."""
    text = httpx.get(f"{url}/metrics", timeout=60.0, trust_env=False).raise_for_status().text
    return {name + (labels or ""): float(value) for name, labels, value in _METRIC.findall(text)}


def requests_in_ledger(counted: dict[str, float]) -> tuple[int, int]:
    """How many were answered, and how many ended in an error."""
    answered = sum(value for name, value in counted.items() if name.startswith("twicetold_requests_total"))
    failed = sum(value for name, value in counted.items() if name.startswith("twicetold_errors_total"))
    return round(answered), round(failed)


def look(url: str, pid: int, began_s: float) -> Look:
    """Look once."""
    process, counted = psutil.Process(pid), metrics_of(url)
    children = process.children(recursive=True)
    return Look(
        at_s=time.monotonic() - began_s,
        gateway_mb=process.memory_info().rss / 2**20,
        engines_mb=sum(child.memory_info().rss for child in children) / 2**20,
        descriptors=process.num_fds(),
        tasks=int(counted["twicetold_tasks"]),
        under_way=int(counted["twicetold_requests_under_way"]),
        connections=int(counted["twicetold_connections"]),
    )


def at_rest(url: str, pid: int, began_s: float, within_s: float = 90.0) -> Look:
    """The first look at which nothing is under way, and nobody but who looks is connected."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look(url, pid, began_s)
        if (seen.under_way == 0 and seen.connections <= 1) or time.monotonic() > deadline:
            return seen
        time.sleep(0.5)


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth by the hour, and its interval of 95 %."""

    per_hour: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} an hour [{self.low:+.2f}, {self.high:+.2f}]"

    def is_over(self, most_per_hour: float) -> bool:
        """Whether it can be told from nothing, and is more than may be."""
        return self.low > 0 and self.per_hour > most_per_hour

    def is_under(self, most_per_hour: float) -> bool:
        """Whether it is shown to be no more than that."""
        return self.high <= most_per_hour

    def finding(self, most_per_hour: float) -> Finding:
        """What the interval says: a slope that noise hides is neither flat nor growth."""
        if self.is_over(most_per_hour):
            return "it grows"
        return "flat" if self.is_under(most_per_hour) else "not shown to be flat"


def slope(points: Sequence[tuple[float, float]], blocks: int = 30) -> Slope:
    """Least squares over (seconds, value), over means of blocks: neighbouring looks are not independent."""
    size = max(1, len(points) // blocks)
    means = [
        tuple(sum(axis) / len(axis) for axis in zip(*points[at : at + size], strict=True))
        for at in range(0, len(points) - size + 1, size)
    ]
    if len(means) < 3:
        raise ValueError(f"{len(means)} blocks are no slope")
    hours, values = [one[0] / 3600 for one in means], [one[1] for one in means]
    hour, value = sum(hours) / len(hours), sum(values) / len(values)
    spread = sum((x - hour) ** 2 for x in hours)
    rise = sum((x - hour) * (y - value) for x, y in zip(hours, values, strict=True)) / spread
    rest = sum((y - value - rise * (x - hour)) ** 2 for x, y in zip(hours, values, strict=True))
    error = sqrt(rest / (len(means) - 2) / spread)
    return Slope(rise, rise - T95 * error, rise + T95 * error)


def verdict(name: str, broken: Sequence[str], unshown: Sequence[str]) -> int:
    """Tell what came of a run. How it ends: 0, 1 when a promise was broken, 2 when one was not shown to be kept."""
    for fault in broken:
        print(f"BROKEN: {fault}")
    for doubt in unshown:
        print(f"NOT SHOWN: {doubt}")
    kept = "no promise broken, but not all shown to be kept" if unshown else "all promises kept"
    print(f"{name}:", "BROKEN" if broken else kept, flush=True)
    return 1 if broken else 2 if unshown else 0
