"""A verifier: two readings in, the probability that one answer serves both out.

    prior     logistic over the features; the only part of a shipped verifier. Cosine is its strongest
    own       logistic over the features and over the vectors in a basis of few directions: which of them matter
              for what is asked here (a diagonal metric), and where near questions have different answers
    forest    trees over the features: "closer is not better once a number differs"
    blend     logit = blend . (1, prior, own, forest), calibrated on labels none of the three had seen

The last three are there when labels of its operator's own fitted it; `prior` is kept as it was, so that a refit
begins from it again.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.verifier import forest
from embeddings.verifier.features import FEATURES, features_beside, features_of
from embeddings.verifier.logistic import Numbers, chances, logits

Arrays = Mapping[str, NDArray[Any]]


class Comparison(NamedTuple):
    """What a verifier says about two texts, and the numbers it looked at, in units of their spread."""

    probability: float
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs as a verifier sees them: row i of each array is one."""

    features: NDArray[np.float32]
    left: NDArray[np.float32]  # vectors
    right: NDArray[np.float32]

    def take(self, rows: NDArray[Any]) -> "Pairs":
        return Pairs(self.features[rows], self.left[rows], self.right[rows])


def pairs_of(pairs: Sequence[tuple[Reading, Reading]]) -> Pairs:
    """The numbers of readings, two by two."""
    return Pairs(
        np.array([features_of(a, b) for a, b in pairs]),
        np.array([a.vector for a, _ in pairs]),
        np.array([b.vector for _, b in pairs]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Immutable. `name` is made of the version and a digest of the numbers: equal names decide equally."""

    family: str  # of embedders whose readings it was fitted on; empty: any
    arrays: Arrays
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))
        object.__setattr__(self, "name", f"verifier1:{_digest(self.family, self.arrays)}")

    @property
    def is_fitted(self) -> bool:
        """Whether labels of its operator's own have changed it."""
        return "blend" in self.arrays

    def compare(self, a: Reading, b: Reading) -> Comparison:
        """Symmetric and deterministic: the same two texts, the same numbers."""
        pairs = pairs_of([(a, b)])
        rows = prior_rows(self.arrays, pairs)
        in_spreads = rows[0, :-1]  # so that whoever learns from them needs no units
        known = None if self.is_fitted else chances(rows @ prior_weights(self.arrays))
        return Comparison(float((self.probabilities(pairs) if known is None else known)[0]), tuple(in_spreads.tolist()))

    def comparing(self, a: Reading, others: Sequence[Reading]) -> Generator[None, None, list[Comparison]]:
        """What `compare` says of each, but for the last digit, in steps."""
        if not others:
            return []
        features = yield from features_beside(a, others)
        rows = _in_spreads(self.arrays, features)
        if self.is_fitted:
            left, right = np.stack([a.vector] * len(others)), np.stack([other.vector for other in others])
            known = self.probabilities(Pairs(features, left, right))
        else:
            known = chances(rows @ prior_weights(self.arrays))
        in_spreads = rows[:, :-1].tolist()
        return [Comparison(chance, tuple(row)) for chance, row in zip(known.tolist(), in_spreads, strict=True)]

    def probabilities(self, pairs: Pairs) -> Numbers:
        """The same for many pairs."""
        arrays = self.arrays
        if not self.is_fitted:
            return chances(prior_logits(arrays, pairs))
        parts = [np.ones(len(pairs.features)), prior_logits(arrays, pairs), own_rows(arrays, pairs) @ arrays["own"]]
        if "forest_roots" in arrays:
            parts.append(logits(forest.shares(arrays, pairs.features)))
        return chances(np.column_stack(parts) @ arrays["blend"])


def prior_logits(arrays: Arrays, pairs: Pairs) -> Numbers:
    found: Numbers = prior_rows(arrays, pairs) @ prior_weights(arrays)
    return found


def prior_weights(arrays: Arrays) -> Numbers:
    return np.concatenate((arrays["weights"], arrays["bias"])).astype(np.float64)


def prior_rows(arrays: Arrays, pairs: Pairs) -> Numbers:
    """Features in units of their spread, and a 1."""
    return _in_spreads(arrays, pairs.features)


def _in_spreads(arrays: Arrays, features: NDArray[np.float32]) -> Numbers:
    rows = np.ones((len(features), features.shape[1] + 1))
    scaled = (features.astype(np.float64) - arrays["mean"]) / arrays["scale"]
    np.minimum(np.maximum(scaled, -8.0), 8.0, out=rows[:, :-1])
    return rows


def own_rows(arrays: Arrays, pairs: Pairs) -> Numbers:
    """The same, then what `products` says of the vectors, in units of its spread."""
    rows = prior_rows(arrays, pairs)
    if "basis" not in arrays:
        return rows
    scaled = (products(arrays["basis"], pairs) - arrays["product_mean"]) / arrays["product_scale"]
    return np.column_stack([rows, np.clip(scaled, -8.0, 8.0)])


def products(basis: NDArray[Any], pairs: Pairs) -> Numbers:
    """Per direction of the basis: where both lie, how far they are apart, and where the pair is."""
    left, right = (vectors.astype(np.float64) @ basis for vectors in (pairs.left, pairs.right))
    return np.column_stack([left * right, np.abs(left - right), left + right])


def conservative() -> Verifier:
    """For embedders nobody fitted anything for: by cosine alone, 0.99 when it is 1, 0.5 at 0.967, 0.08 at 0.95."""
    count = len(FEATURES)
    weights, mean = np.zeros(count, np.float32), np.zeros(count, np.float32)
    scale = np.ones(count, np.float32)
    cosine = FEATURES.index("cosine")
    weights[cosine], mean[cosine], scale[cosine] = 7.0, 0.967, 0.05
    return Verifier("", {"mean": mean, "scale": scale, "weights": weights, "bias": np.zeros(1, np.float32)})


def _digest(family: str, arrays: Arrays) -> str:
    digest = blake2b(family.encode(), digest_size=8)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.shape}:{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
