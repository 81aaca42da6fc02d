"""An online logistic regression that knows how sure it is.

A Gaussian over the weights, moved by every label with one step of Laplace's method (Spiegelhalter and Lauritzen 1990):
the mean follows the error, the covariance shrinks along what was seen. A probability is moderated by what is not known
yet (MacKay 1992): far from anything seen it goes towards a half, so few labels serve nothing. A few microseconds a
step, no seed, the same labels give the same numbers.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def logit(p: float, most: float = 8.0) -> float:
    """Log odds, at most `most` either way."""
    if p <= 0.0 or p >= 1.0:
        return -most if p <= 0.0 else most
    found = math.log(p / (1.0 - p))
    return found if -most <= found <= most else math.copysign(most, found)


class Belief:
    """What is believed about the weights: a mean and a covariance."""

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        self._mean: Floats = np.array(mean, np.float64)
        self._covariance: Floats = np.diag(np.square(np.array(deviation, np.float64)))

    def __len__(self) -> int:
        return len(self._mean)

    def probability(self, features: Sequence[float]) -> float:
        return self.each(np.array([features], np.float64))[0]

    def each(self, x: Floats) -> list[float]:
        """`probability` of every row, to the last digit: a product for each."""
        rows = x[:, None, :]
        return _moderated(np.matmul(rows, self._mean), np.matmul(np.matmul(rows, self._covariance), x[:, :, None]))

    def probabilities(self, x: Floats) -> list[float]:
        """The same but for the last digit, and quicker where rows are long."""
        return _moderated(x @ self._mean, np.add.reduce((x @ self._covariance) * x, axis=1))

    def learn(self, features: Sequence[float], is_right: bool, weight: float = 1.0) -> None:
        x = np.asarray(features, np.float64)
        p = sigmoid(float(x @ self._mean))
        along = self._covariance @ x
        curvature = max(p * (1.0 - p), 1e-4) * weight
        along_mean = along / (1.0 + curvature * float(x @ along))
        self._covariance -= curvature * np.outer(along_mean, along)
        self._mean += along_mean * (weight * (float(is_right) - p))


def _moderated(means: Floats, spreads: Floats) -> list[float]:
    """Probabilities of log odds with these means and variances."""
    pairs = zip(means.ravel().tolist(), spreads.ravel().tolist(), strict=True)
    return [sigmoid(mean / math.sqrt(1.0 + math.pi * spread / 8.0)) for mean, spread in pairs]
