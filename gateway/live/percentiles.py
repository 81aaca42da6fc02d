"""Percentiles of durations, from a histogram of fixed size: right to about 5 percent, whatever came.

Buckets grow by a tenth each, and a percentile is told as the middle of its bucket, so it is off by 5 percent at most
(and by what lies beyond the ends: under 10 microseconds, over an hour). Two histograms add up to one.
"""

from collections.abc import Iterable, Sequence
from math import log, sqrt

GROWTH = 1.1
SHORTEST_S = 1e-5
LONGEST_S = 3600.0
BUCKETS = int(log(LONGEST_S / SHORTEST_S) / log(GROWTH)) + 2
SHOWN = (50, 90, 99)

_PER_BUCKET = 1.0 / log(GROWTH)


class Histogram:
    """How many durations fell where."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS

    def add(self, seconds: float) -> None:
        """Count one."""
        at = int(log(seconds / SHORTEST_S) * _PER_BUCKET) if seconds > SHORTEST_S else 0
        self.counts[at if at < BUCKETS else -1] += 1

    def add_all(self, durations: Iterable[float]) -> None:
        """Count several."""
        counts = self.counts
        for seconds in durations:
            at = int(log(seconds / SHORTEST_S) * _PER_BUCKET) if seconds > SHORTEST_S else 0
            counts[at if at < BUCKETS else -1] += 1

    def merge(self, other: "Histogram") -> None:
        """Count all that the other has."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def percentiles(self, wanted: Sequence[int] = SHOWN) -> dict[str, float | None]:
        """Seconds under which so many of a hundred fell; None before the first."""
        total = self.total
        return {f"p{percent}": self._at(total * percent / 100) if total else None for percent in wanted}

    def _at(self, rank: float) -> float:
        below = 0
        for bucket, count in enumerate(self.counts):
            below += count
            if below >= rank and count:
                return SHORTEST_S * GROWTH**bucket * sqrt(GROWTH)
        raise RuntimeError(f"rank {rank} of {below}")
