"""Logistic regression that begins somewhere: Newton's method on the penalised likelihood."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CERTAIN = 12.0  # a logit beyond it says no more
_STEPS = 40


def chances(logits: Numbers) -> Numbers:
    """The probabilities of `logits`."""
    found: Numbers = 1.0 / (1.0 + np.exp(-np.minimum(np.maximum(logits, -CERTAIN), CERTAIN)))
    return found


def logits(probabilities: Numbers) -> Numbers:
    """What `chances` would make `probabilities` of, within its bounds."""
    least = 1.0 / (1.0 + np.exp(CERTAIN))
    inside = np.clip(probabilities, least, 1.0 - least)
    found: Numbers = np.log(inside / (1.0 - inside))
    return found


def regress(
    rows: Numbers, labels: Numbers, first: Numbers, penalty: Numbers, weights: Numbers | None = None
) -> Numbers:
    """The coefficients that explain `labels` best, drawn to `first` by `penalty` (one each, above 0): many rows move
    them far, few hardly. A row counts as many as its weight says. Newton's steps, halved until they lead down."""
    each = np.ones(len(labels)) if weights is None else weights
    now, loss = first.copy(), _loss(rows, labels, each, first, first, penalty)
    for _ in range(_STEPS):
        guess = chances(rows @ now)
        slope = rows.T @ (each * (guess - labels)) + penalty * (now - first)
        bend = (rows * (each * np.maximum(guess * (1.0 - guess), 1e-6))[:, None]).T @ rows
        bend[np.diag_indices_from(bend)] += penalty
        step = np.linalg.solve(bend, slope)
        size = 1.0
        while (new := _loss(rows, labels, each, now - size * step, first, penalty)) > loss and size > 1e-4:
            size /= 2
        if new > loss - 1e-9 * abs(loss):
            break
        now, loss = now - size * step, new
    return now


def _loss(rows: Numbers, labels: Numbers, each: Numbers, now: Numbers, first: Numbers, penalty: Numbers) -> float:
    said = rows @ now
    return float(each @ (np.logaddexp(0.0, said) - labels * said) + 0.5 * (penalty * (now - first) ** 2).sum())
