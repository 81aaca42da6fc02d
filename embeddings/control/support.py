"""What the neighbours together say about each of them, as numbers for the lane's own model.

Neighbours of one family (`kinship.py`) have the same answer, so they support each other and stand against the rest.
A vote weighs by nearness; what is not stored votes, too, against everybody.
"""

import math
from collections.abc import Sequence

from embeddings.control.belief import logit

FEATURES = ("bias", "cosine", "share", "supporters", "margin", "record", "verifier")
SHARPNESS = 25.0  # a neighbour nearer by 0.04 of cosine weighs 2.7 times as much
UNSEEN = 0.55  # the cosine of what is not stored

# What is believed of their weights before the first label: near, with a lead, supported, and judged well.
PRIOR_MEAN = (-2.0, 1.0, 1.0, 0.3, 0.5, 0.3, 0.5)
PRIOR_DEVIATION = (1.5, 1.5, 1.5, 1.5, 1.5, 0.5, 0.5)


def support(
    similarities: Sequence[float], families: Sequence[int], records: Sequence[float], probabilities: Sequence[float]
) -> list[tuple[float, ...]]:
    """`FEATURES` of every neighbour, each about as large as one."""
    votes = [math.exp(SHARPNESS * (similarity - 1.0)) for similarity in similarities]
    all_votes = sum(votes) + math.exp(SHARPNESS * (UNSEEN - 1.0))
    in_favour: dict[int, float] = {}
    for family, vote in zip(families, votes, strict=True):
        in_favour[family] = in_favour.get(family, 0.0) + vote
    best = {family: max(s for s, f in zip(similarities, families, strict=True) if f == family) for family in in_favour}
    rivals = {family: max((best[other] for other in best if other != family), default=UNSEEN) for family in best}
    return [
        (
            1.0,
            cosine_feature(similarity),
            logit(in_favour[family] / all_votes) / 2.0,
            math.log(families.count(family)),
            (similarity - rivals[family]) * 8.0,
            record,
            verifier_feature(probability),
        )
        for similarity, family, record, probability in zip(similarities, families, records, probabilities, strict=True)
    ]


def cosine_feature(similarity: float) -> float:
    return (similarity - 0.8) * 8.0


def verifier_feature(probability: float) -> float:
    return logit(probability) / 2.0
