"""vCache's policy (Schroeder et al., 2025), written from its description: a curve per entry, guaranteed per request.

Each entry keeps how near others came and whether its answer served them; P(right | s) is a logistic curve in the
similarity with threshold t. The nearest neighbour alone is asked. For a grid of confidences the pessimistic threshold
t + z * sd gives a lower bound of P(right), and of all the grid the most useful decides how often one must still
generate to keep P(right) of a request at or above 1 - delta. Generated answers label; only what differs is stored.
Their bound is on wrong answers of *all* requests.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.quality.walk import Learned, Question

FEWEST = 6
GRID = np.linspace(0.0, 1.0, 52)[1:-1]  # 50 points: the smallest is 0.02
_DEVIATES = np.array([NormalDist().inv_cdf(1.0 - float(epsilon)) for epsilon in GRID])
# Where right and wrong are perfectly parted the variance of t is simulated; these are the points that are known.
_PARTED_AT, _PARTED = (6.0, 20.0, 31.0, 48.0), (0.0354, 0.01, 0.00457, 0.0153)


class VCache:
    """`delta`: the share of requests that may be answered wrongly."""

    def __init__(self, delta: float, seed: int | None = None) -> None:
        self._delta = delta
        self._random = np.random.default_rng(seed or 0)
        self._seen: dict[str, list[tuple[float, bool]]] = {}

    def choose(self, question: Question) -> int | None:
        nearest = question.neighbours[0]
        seen = self._seen.get(nearest.id, [])
        if len(seen) < FEWEST:
            return None
        must_generate = explore(seen, round(nearest.similarity, 3), self._delta)
        return 0 if self._random.uniform() > must_generate else None

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:
        nearest = question.neighbours[0]
        self._seen.setdefault(nearest.id, []).append((round(nearest.similarity, 3), is_right[0]))
        return Learned(is_spent=is_right[0], is_remembered=not is_right[0])


def explore(seen: Sequence[tuple[float, bool]], similarity: float, delta: float) -> float:
    """How often a request this near must be generated all the same."""
    near = np.array([0.0, 1.0, *(s for s, _ in seen)])
    right = np.array([0.0, 1.0, *(float(r) for _, r in seen)])
    bias, slope, is_parted = fit(near, right)
    slope = max(slope, 1e-6)
    threshold = min(1.0, max(0.0, -bias / slope))
    variance = float(np.interp(len(seen), _PARTED_AT, _PARTED)) if is_parted else _variance(near, bias, slope)
    pessimistic = np.clip(threshold + _DEVIATES * math.sqrt(variance), 0.0, 1.0)
    sure = (1.0 - GRID) / (1.0 + np.exp(np.clip(-slope * (similarity - pessimistic), -60.0, 60.0)))
    return float(np.min(1.0 - delta / np.maximum(1.0 - sure, 1e-12)))


def fit(near: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Intercept and slope of an unpenalised logistic curve, and whether the two kinds are perfectly parted."""
    highest_wrong, lowest_right = near[right == 0].max(), near[right == 1].min()
    if highest_wrong < lowest_right:
        slope = 200.0
        return -slope * float(highest_wrong + lowest_right) / 2.0, slope, True
    x = np.column_stack([np.ones(len(near)), near])
    w = np.zeros(2)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -30.0, 30.0)))
        bend = (x * (p * (1.0 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(bend, x.T @ (right - p))
        w += np.clip(step, -20.0, 20.0)
        if np.abs(step).max() < 1e-6:
            break
    return float(w[0]), float(w[1]), False


def _variance(near: NDArray[np.float64], bias: float, slope: float) -> float:
    """Of the threshold, by the delta method."""
    x = np.column_stack([np.ones(len(near)), near])
    p = 1.0 / (1.0 + np.exp(-np.clip(bias + slope * near, -30.0, 30.0)))
    covariance = np.linalg.pinv((x * np.maximum(p * (1.0 - p), 1e-9)[:, None]).T @ x)
    slant = np.array([-1.0 / slope, bias / slope**2])
    return float(max(slant @ covariance @ slant, 0.0))
