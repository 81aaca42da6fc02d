"""Fit a verifier to labelled pairs, beginning from another: few labels move it little, many move it far."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.verifier.features import features_of
from embeddings.verifier.model import Verifier

Pair = tuple[Reading, Reading, bool]
PRIOR_WEIGHT = 4.0  # how many labels the numbers of `start` are worth, per squared unit of a standardised weight
_STEPS = 50


def fit(pairs: Sequence[Pair], start: Verifier) -> Verifier:
    """The verifier that explains `pairs` best without leaving `start` more than they justify. Pure, deterministic."""
    if not pairs:
        return start
    rows = np.stack([features_of(a, b) for a, b, _ in pairs])
    return fit_rows(rows, np.array([label for _, _, label in pairs], np.float64), start)


def fit_rows(
    rows: NDArray[np.float32], labels: NDArray[np.float64], start: Verifier, prior_weight: float = PRIOR_WEIGHT
) -> Verifier:
    """Newton's method on the penalised log-likelihood of a logistic regression."""
    arrays = {name: array.astype(np.float64) for name, array in start.arrays.items()}
    scaled = np.column_stack([(rows - arrays["mean"]) / arrays["scale"], np.ones(len(rows))])
    first = np.concatenate([arrays["weights"], arrays["bias"]])
    penalty = np.full(len(first), prior_weight)
    penalty[-1] = 1e-3
    now = first.copy()
    for _ in range(_STEPS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(scaled @ now, -30, 30)))
        slope = scaled.T @ (chances - labels) + penalty * (now - first)
        bend = (scaled * (chances * (1 - chances))[:, None]).T @ scaled + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        now -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-9))
        if float(np.abs(step).max()) < 1e-8:
            break
    found = now.astype(np.float32)
    return Verifier(start.family, {**start.arrays, "weights": found[:-1], "bias": found[-1:]})
