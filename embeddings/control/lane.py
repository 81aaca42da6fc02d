"""A lane: one tenant's or route's state of what may be served.

    neighbours -> guards -> verifier -> what neighbours agree on -> this lane's own model -> threshold -> verdict

Owns the lane's model (`belief`), who shares an answer with whom (`kinship`), and the labels that say how often a
would-be hit is wrong (`risk`). Invariants: a verdict depends on the question, the neighbours and the labels learned so
far, in order, and on nothing else; nothing is served below the threshold; a share of would-be hits is generated all the
same (`shadow`), so that the estimate stays alive. Driven by one thread.
"""

import math
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from embeddings.base import Reading
from embeddings.control.belief import Belief
from embeddings.control.kinship import Kinship
from embeddings.control.risk import Evidence
from embeddings.control.support import FEATURES, support
from embeddings.control.types import Compares, Label, LaneReport, Looked, Neighbour, Verdict
from embeddings.guards import first_refusal

PRIOR_MEAN = (-2.0, 1.6, 0.3, 0.5, 0.2, 0.5, 0.5)
PRIOR_DEVIATION = (1.5, 0.5, 0.5, 0.5, 0.3, 0.5, 0.3)
MOST_BAD = 2  # so many negatives retire an entry
WORTH_LABELLING = 0.5  # similarity from which a comparison with the fresh answer teaches something

assert len(FEATURES) == len(PRIOR_MEAN) == len(PRIOR_DEVIATION)


class Lane:
    """Decides, learns, reports."""

    def __init__(
        self,
        verifier: Compares,
        *,
        target: float = 0.01,
        confidence: float = 0.95,
        shadow_rate: float = 0.05,
        seed: bytes = b"",
    ) -> None:
        self._verifier = verifier
        self._shadow_rate = shadow_rate
        self._seed = seed
        self._belief = Belief(PRIOR_MEAN, PRIOR_DEVIATION)
        self._kinship = Kinship()
        self._evidence = Evidence(target, confidence)
        self._labels: Counter[str] = Counter()
        self._served = self._shadowed = 0

    @property
    def threshold(self) -> float:
        return self._evidence.threshold

    def decide(self, question: Reading, neighbours: Sequence[Neighbour], *, min_similarity: float = 0.0) -> Verdict:
        """What to do with `question`, given up to a handful of stored ones, nearest first."""
        looked = self._look(question, neighbours, min_similarity)
        judged = [(one.probability, -n) for n, one in enumerate(looked) if one.probability is not None]
        if not judged:
            reason = looked[0].refusal if looked and looked[0].refusal else "no_candidates"
            return Verdict("pass", None, None, self.threshold, reason, looked)
        probability, best = max(judged)
        neighbour = neighbours[-best]
        if probability < self.threshold:
            worth = neighbour if neighbour.similarity >= WORTH_LABELLING else None
            return Verdict("pass", worth, probability, self.threshold, "below_threshold", looked)
        if self._is_shadowed(question.text, neighbour.id):
            self._shadowed += 1
            return Verdict("shadow", neighbour, probability, self.threshold, "shadow", looked)
        self._served += 1
        return Verdict("serve", neighbour, probability, self.threshold, "served", looked)

    def learn(self, label: Label) -> None:
        """Take in what is known now. The order counts; replaying all labels restores the lane."""
        self._labels[label.source] += 1
        if label.was_eligible:
            self._evidence.add(label.probability, label.is_right)
        if len(label.features) == len(FEATURES):
            self._belief.learn(label.features, label.is_right)
        if label.is_right and label.source != "feedback":
            self._kinship.link(label.question, label.stored)

    def report(self) -> LaneReport:
        rate, upper = self._evidence.estimate()
        return LaneReport(self.threshold, rate, upper, dict(self._labels), self._served, self._shadowed)

    def _look(self, question: Reading, neighbours: Sequence[Neighbour], min_similarity: float) -> tuple[Looked, ...]:
        refusals = [_refusal(question, neighbour, min_similarity) for neighbour in neighbours]
        families = self._kinship.families([n.reading.text for n in neighbours], [n.answer for n in neighbours])
        compared = [
            self._verifier.compare(question, neighbour.reading).probability if refusal is None else 0.0
            for neighbour, refusal in zip(neighbours, refusals, strict=True)
        ]
        records = [math.log((n.good + 1.0) / (n.bad + 1.0)) for n in neighbours]
        features = support([n.similarity for n in neighbours], families, compared, records)
        return tuple(
            Looked(n.id, n.similarity, refusal, None, ())
            if refusal is not None
            else Looked(n.id, n.similarity, None, self._belief.probability(x), x)
            for n, refusal, x in zip(neighbours, refusals, features, strict=True)
        )

    def _is_shadowed(self, question: str, entry: str) -> bool:
        drawn = blake2b(digest_size=8, key=self._seed[:64])
        for part in (question.encode("utf-8", "surrogatepass"), entry.encode(), str(self._labels.total()).encode()):
            drawn.update(len(part).to_bytes(8, "little") + part)
        return int.from_bytes(drawn.digest(), "little") < self._shadow_rate * 2**64


def _refusal(question: Reading, neighbour: Neighbour, min_similarity: float) -> str | None:
    if neighbour.similarity < min_similarity:
        return "below_min_similarity"
    if neighbour.bad >= MOST_BAD:
        return "retired"
    guard = first_refusal(question.text, neighbour.reading.text)
    return None if guard is None else f"guard_{guard}"
