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
_UNSEEN_VOTE = math.exp(SHARPNESS * (UNSEEN - 1.0))


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
    all_votes = sum(votes) + _UNSEEN_VOTE
    in_favour, best = dict.fromkeys(families, 0.0), dict.fromkeys(families, -math.inf)
    for family, vote, similarity in zip(families, votes, similarities, strict=True):
        in_favour[family] += vote
        if similarity > best[family]:
            best[family] = similarity
    nearest, *others = sorted(best.values(), reverse=True)
    next_best = others[0] if others else UNSEEN
    rows: list[tuple[float, ...]] = []
    for similarity, family, record, probability, length in zip(
        similarities, families, records, probabilities, lengths, strict=True
    ):
        cosine, judged = cosine_feature(similarity), verifier_feature(probability)
        share = logit(in_favour[family] / all_votes) / 2.0
        supporters = math.log(families.count(family))
        margin = (similarity - (next_best if best[family] == nearest else nearest)) * 8.0
        one = (1.0, cosine, share, supporters, margin, record, judged)
        lead, is_supported = min(margin, LEAD), 1.0 if supporters > 0.0 else 0.0
        bends = (cosine * margin, cosine * judged, lead, share * supporters, is_supported)
        rows.append((*one, *bends, math.log(max(length, 8) / SHORT)))
    return rows


def cosine_feature(similarity: float) -> float:
    return (similarity - 0.8) * 8.0


def verifier_feature(probability: float) -> float:
    return logit(probability) / 2.0
