"""What a lane believes of neighbours before its first label.

Weights over `support.FEATURES`, fitted on the walks of public streams by `python -m bench.quality.belief`, every stream
counted alike: how near, how alone, how well supported a neighbour has to be is much the same everywhere (fitted without
clinc150, the surest 1,545 of its would-be hits were wrong twice). Cosines of another embedder mean something else: a
lane over one that nobody has fitted begins cautiously and serves little until labels came.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from embeddings.control.support import FEATURES


@dataclass(frozen=True, slots=True)
class Prior:
    """Of the weights: what they are thought to be, and give or take how much. A clue is one of the verifier's own
    features, whose weight is thought to be 0."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    clue_deviation: float

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.deviation) == len(FEATURES):
            raise ValueError(f"a prior has {len(FEATURES)} weights, not {len(self.mean)} and {len(self.deviation)}")


def fitted(mean: tuple[float, ...]) -> Prior:
    """Weights that streams agree on; what is left open is what a lane's own traffic may be different in."""
    return Prior(mean, (0.3, *[0.15] * (len(FEATURES) - 1)), 0.05)


CAUTIOUS = Prior(
    (-2.0, 1.0, 1.0, 0.3, 0.5, 0.3, 0.5, *[0.0] * 6),
    (1.5, 1.5, 1.5, 1.5, 1.5, 0.5, 0.5, *[0.5] * 6),
    0.5,
)

# by the family of embedders (`embeddings/verifier/shipped.py`)
PRIORS: Mapping[str, Prior] = {
    "78e1b3564fc3466d1f788af89adcae62:mean": fitted(
        (0.27, 2.79, 0.27, 2.67, 0.22, 0.40, -1.75, 0.23, 0.14, 0.21, 0.67, -3.53, 0.14)
    ),
}


def prior_of(family: str) -> Prior:
    """The prior for an embedder of this family."""
    return PRIORS.get(family, CAUTIOUS)
