"""What the neighbours together say about each of them, as numbers for the lane's own small model."""

import math
from collections.abc import Sequence

from embeddings.control.belief import logit

FEATURES = ("bias", "verifier", "cosine", "share", "supporters", "margin", "record")
SHARPNESS = 25.0  # of votes: a neighbour 0.04 of cosine nearer weighs 2.7 times as much
UNSEEN = 0.55  # cosine at which what is not stored votes against everybody


def support(
    similarities: Sequence[float], families: Sequence[int], probabilities: Sequence[float], records: Sequence[float]
) -> list[tuple[float, ...]]:
    """Features of every neighbour, in the order of `FEATURES`."""
    votes = [math.exp(SHARPNESS * (similarity - 1.0)) for similarity in similarities]
    all_votes = sum(votes) + math.exp(SHARPNESS * (UNSEEN - 1.0))
    found: list[tuple[float, ...]] = []
    for similarity, family, probability, record in zip(similarities, families, probabilities, records, strict=True):
        share = sum(vote for vote, other in zip(votes, families, strict=True) if other == family) / all_votes
        rival = max((s for s, other in zip(similarities, families, strict=True) if other != family), default=UNSEEN)
        found.append(
            (
                1.0,
                logit(probability) / 2,
                (similarity - 0.8) * 8,
                logit(share) / 2,
                math.log1p(families.count(family) - 1),
                (similarity - rival) * 8,
                record,
            )
        )
    return found
