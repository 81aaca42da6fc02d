"""Load or recompute? What a tier's load is measured to cost against what computing the same tokens would.

    recompute(n tokens behind context) = c0 + c1 n + c2 n context     fitted to the engine's own prefill chunks
    load(bytes)                        = latency + bytes / bandwidth  moving averages of the tier's own loads

Until both sides are known the tier is believed; after refusals it is tried again now and then, for it may have
become faster.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from kvtier.tiers.base import Found

FORGET = 0.98  # weight of what was known, per new observation
OUTLIER = 1.5  # times the expected: a chunk that took longer was disturbed, and counts as this much
KNOWN_AFTER = 4  # chunks
SMOOTH = 0.25  # weight of the newest load
TRY_EVERY = 16  # refusals


class RecomputeCost:
    """Least squares over prefill chunks, newest first in weight. Used by the engine's thread and read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._squares = [[0.0] * 3 for _ in range(3)]
        self._products = [0.0] * 3
        self._num_seen = 0
        self._chunk_tokens = 0.0
        self._fit: tuple[float, float, float] | None = None

    def observe(self, start: int, num_tokens: int, seconds: float) -> None:
        """A chunk of `num_tokens` behind `start` others took `seconds`."""
        if num_tokens < 1 or not 0 < seconds < math.inf:
            return
        features = _features(start, num_tokens)
        with self._lock:
            expected = self._cost(start, num_tokens)
            if expected is not None and self._num_seen >= 2 * KNOWN_AFTER:
                seconds = min(seconds, OUTLIER * expected)
            weight = 1 / num_tokens  # long chunks would drown short ones
            for i in range(3):
                self._products[i] = self._products[i] * FORGET + weight * features[i] * seconds
                for j in range(3):
                    self._squares[i][j] = self._squares[i][j] * FORGET + weight * features[i] * features[j]
            self._num_seen += 1
            self._chunk_tokens = num_tokens if self._num_seen == 1 else max(self._chunk_tokens * FORGET, num_tokens)
            self._fit = None

    def seconds(self, start: int, stop: int) -> float | None:
        """What computing the tokens [start, stop) in chunks would take; None while too little is known."""
        with self._lock:
            if self._num_seen < KNOWN_AFTER:
                return None
            size, total = max(1, round(self._chunk_tokens)), 0.0
            chunks, rest = divmod(stop - start, size)
            if chunks:  # the cost is linear in the context, so one chunk in the middle stands for all
                total += chunks * (self._cost(start + (chunks - 1) * size / 2, size) or 0.0)
            if rest:
                total += self._cost(stop - rest, rest) or 0.0
            return total

    def _cost(self, start: float, num_tokens: int) -> float | None:
        if self._num_seen < KNOWN_AFTER:
            return None
        if self._fit is None:
            self._fit = _solve(self._squares, self._products)
        cost = sum(c * x for c, x in zip(self._fit, _features(start, num_tokens), strict=True))
        return max(cost, 0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many segments to load, and whether cost was the reason for taking fewer than there are."""

    num_segments: int
    is_refused: bool


class Gate:
    """What one tier's loads cost so far, and whether the next pays."""

    def __init__(self, cost: RecomputeCost) -> None:
        self._cost = cost
        self._lock = threading.Lock()
        self._latency_s: float | None = None
        self._bytes_per_s: float | None = None
        self._refused_in_a_row = 0
        self.num_refused = 0

    def observe(self, latency_s: float, num_bytes: int, seconds: float) -> None:
        """The tier answered after `latency_s`, then brought `num_bytes` in `seconds`."""
        with self._lock:
            self._latency_s = _smooth(self._latency_s, latency_s)
            if num_bytes and seconds > 0:
                self._bytes_per_s = _smooth(self._bytes_per_s, num_bytes / seconds)

    def choose(self, run: Sequence[Found], start: int, stop: int) -> Verdict:
        """How much of a run to load, for a prompt whose tokens [start, stop) are missing: the cheapest prefix of it."""
        with self._lock:
            best = self._cheapest(run, start, stop)
            if best == len(run):
                self._refused_in_a_row = 0
                return Verdict(best, is_refused=False)
            self.num_refused += 1
            self._refused_in_a_row += 1
            if self._refused_in_a_row % TRY_EVERY == 0:
                return Verdict(len(run), is_refused=False)
            return Verdict(best, is_refused=True)

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return {
                "breakeven": self.num_refused,
                "latency_us": round((self._latency_s or 0.0) * 1e6),
                "bytes_per_s": round(self._bytes_per_s or 0.0),
            }

    def _cheapest(self, run: Sequence[Found], start: int, stop: int) -> int:
        if self._latency_s is None or self._bytes_per_s is None or self._cost.seconds(start, stop) is None:
            return len(run)
        costs = [self._cost.seconds(start, stop) or 0.0]  # of loading no segment, one, two, ...
        num_bytes = 0
        for found in run:
            num_bytes += found.num_bytes
            rest = self._cost.seconds(found.stop, stop) or 0.0
            costs.append(self._latency_s + num_bytes / self._bytes_per_s + rest)
        return min(range(len(costs)), key=lambda i: (costs[i], -i))


def _features(start: float, num_tokens: int) -> tuple[float, float, float]:
    return (1.0, float(num_tokens), num_tokens * start)


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTH * (new - old)


def _solve(squares: list[list[float]], products: list[float]) -> tuple[float, float, float]:
    """Coefficients of least squares, none negative: what comes out negative is left out and the rest fitted again."""
    used = [0, 1, 2]
    while used:
        fit = _eliminate([[squares[i][j] for j in used] for i in used], [products[i] for i in used])
        if min(fit) >= 0:
            found = dict(zip(used, fit, strict=True))
            return (found.get(0, 0.0), found.get(1, 0.0), found.get(2, 0.0))
        worst = min(range(len(used)), key=lambda at: fit[at] * squares[used[at]][used[at]] ** 0.5)
        del used[worst]
    return (0.0, 0.0, 0.0)


def _eliminate(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve a small positive system; a touch of the diagonal keeps it solvable when all chunks looked alike."""
    size = len(right)
    scale = [max(matrix[i][i], 1e-30) ** 0.5 for i in range(size)]
    rows = [[matrix[i][j] / scale[i] / scale[j] + (1e-9 if i == j else 0.0) for j in range(size)] for i in range(size)]
    values = [right[i] / scale[i] for i in range(size)]
    for i in range(size):
        for k in range(i + 1, size):
            factor = rows[k][i] / rows[i][i]
            values[k] -= factor * values[i]
            for j in range(i, size):
                rows[k][j] -= factor * rows[i][j]
    for i in reversed(range(size)):
        values[i] = (values[i] - sum(rows[i][j] * values[j] for j in range(i + 1, size))) / rows[i][i]
    return [value / s for value, s in zip(values, scale, strict=True)]
