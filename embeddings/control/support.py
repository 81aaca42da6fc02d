"""What the neighbours together say about each of them, as numbers for the lane's own model.

Neighbours of one family (`kinship.py`) have the same answer, so they support each other and stand against the rest.
A vote weighs by nearness; what is not stored votes, too, against everybody.
"""

import math
from collections.abc import Sequence

from embeddings.control.belief import logit

FEATURES = (
    "bias",
    "cosine",
    "share",  # of the votes
    "supporters",
    "margin",  # to the nearest neighbour of another family
    "record",  # of what was said of its family before
    "verifier",
    "cosine_margin",  # products and bends: a logistic regression has none of its own
    "cosine_verifier",
    "lead",
    "share_supporters",
    "is_supported",
    "length",
)
SHARPNESS = 25.0  # a neighbour nearer by 0.04 of cosine weighs 2.7 times as much
UNSEEN = 0.55  # the cosine of what is not stored
LEAD = 0.8  # a margin of 0.1 of cosine: what is farther away is no rival
SHORT = 50.0  # characters


def support(
    similarities: Sequence[float],
    families: Sequence[int],
    records: Sequence[float],
    probabilities: Sequence[float],
    lengths: Sequence[int],
) -> list[tuple[float, ...]]:
    """`FEATURES` of every neighbour, each about as large as one. `records` are log odds of being right, `lengths`
    characters of the longer question."""
    votes = [math.exp(SHARPNESS * (similarity - 1.0)) for similarity in similarities]
    all_votes = sum(votes) + math.exp(SHARPNESS * (UNSEEN - 1.0))
    in_favour: dict[int, float] = {}
    for family, vote in zip(families, votes, strict=True):
        in_favour[family] = in_favour.get(family, 0.0) + vote
    best = {family: max(s for s, f in zip(similarities, families, strict=True) if f == family) for family in in_favour}
    rivals = {family: max((best[other] for other in best if other != family), default=UNSEEN) for family in best}
    rows: list[tuple[float, ...]] = []
    for similarity, family, record, probability, length in zip(
        similarities, families, records, probabilities, lengths, strict=True
    ):
        cosine, judged = cosine_feature(similarity), verifier_feature(probability)
        share = logit(in_favour[family] / all_votes) / 2.0
        supporters = math.log(families.count(family))
        margin = (similarity - rivals[family]) * 8.0
        one = (1.0, cosine, share, supporters, margin, record, judged)
        bends = (cosine * margin, cosine * judged, min(margin, LEAD), share * supporters, float(supporters > 0.0))
        rows.append((*one, *bends, math.log(max(length, 8) / SHORT)))
    return rows


def cosine_feature(similarity: float) -> float:
    return (similarity - 0.8) * 8.0


def verifier_feature(probability: float) -> float:
    return logit(probability) / 2.0
