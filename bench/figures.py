"""Percentiles, proportions and their intervals. Pure.

A percentile is the nearest rank: the smallest observation that at least p % of the sample does not exceed. No
interpolation, so every figure is one that was really observed; a p99 of fewer than 100 observations is the maximum.
An interval of a proportion is Clopper and Pearson's: exact, never shorter than it says.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import ceil, exp, lgamma, log, log1p
from statistics import fmean
from typing import Any

METHOD = "percentiles: nearest rank, no interpolation; intervals: Clopper-Pearson, 95 %"


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is distributed, in its own unit."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `of`, and between which shares the truth lies with 95 % confidence."""

    hits: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        return clopper_pearson(self.hits, self.of)

    def as_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {**asdict(self), "rate": self.rate, "low": low, "high": high}

    def __str__(self) -> str:
        if self.rate is None:
            return "none"
        low, high = self.interval
        return f"{self.hits} of {self.of} = {self.rate:.2%} [{low:.2%}, {high:.2%}]"


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of `values`, in any order. `percent` is above 0 and at most 100."""
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent}th percentile of {len(values)} values")
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def spread(values: Sequence[float]) -> Spread | None:
    """Count, mean and percentiles; None of nothing."""
    if not values:
        return None
    return Spread(len(values), fmean(values), percentile(values, 50), percentile(values, 90), percentile(values, 99))


def median(values: Sequence[float]) -> float:
    """The nearest-rank median."""
    return percentile(values, 50)


def clopper_pearson(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a proportion; (0, 1) when nothing was seen."""
    if not 0 <= hits <= of:
        raise ValueError(f"{hits} hits of {of}")
    if of == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _root(lambda p: 1 - _at_most(hits - 1, of, p) - tail)
    high = 1.0 if hits == of else _root(lambda p: tail - _at_most(hits, of, p))
    return low, high


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function on (0, 1) crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _at_most(k: int, n: int, p: float) -> float:
    """The chance of at most `k` successes in `n` tries."""
    head = lgamma(n + 1)
    return sum(exp(head - lgamma(i + 1) - lgamma(n - i + 1) + i * log(p) + (n - i) * log1p(-p)) for i in range(k + 1))
