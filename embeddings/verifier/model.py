"""A verifier: features of two readings in, the probability that one answer serves both out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.verifier.features import FEATURES, features_of

CERTAIN = 12.0  # a logit beyond it says no more


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a verifier says about two texts, and the numbers it looked at."""

    probability: float
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Logistic over features. `name` is made of the version and a digest of the numbers: equal names decide equally."""

    family: str  # of embedders whose readings it was fitted on; empty: any
    arrays: Mapping[str, NDArray[np.float32]]  # mean, scale, weights (in the order of FEATURES), bias
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))
        object.__setattr__(self, "name", f"verifier1:{_digest(self.family, self.arrays)}")

    def compare(self, a: Reading, b: Reading) -> Comparison:
        """Symmetric and deterministic: the same two texts, the same numbers."""
        features = features_of(a, b)
        return Comparison(float(self.probabilities(features[None])[0]), tuple(features.tolist()))

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same for rows of features."""
        scaled = (rows.astype(np.float64) - self.arrays["mean"]) / self.arrays["scale"]
        logits = scaled @ self.arrays["weights"].astype(np.float64) + float(self.arrays["bias"][0])
        chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(logits, -CERTAIN, CERTAIN)))
        return chances


def conservative() -> Verifier:
    """For embedders nobody fitted anything for: by cosine alone, 0.99 when it is 1, 0.5 at 0.967, 0.08 at 0.95."""
    count = len(FEATURES)
    weights, mean = np.zeros(count, np.float32), np.zeros(count, np.float32)
    weights[FEATURES.index("cosine")], mean[FEATURES.index("cosine")] = 140.0, 0.967
    ones = np.ones(count, np.float32)
    return Verifier("", {"mean": mean, "scale": ones, "weights": weights, "bias": np.zeros(1, np.float32)})


def _digest(family: str, arrays: Mapping[str, NDArray[np.float32]]) -> str:
    digest = blake2b(family.encode(), digest_size=8)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.shape}:{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
