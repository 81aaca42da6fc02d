"""Policies beside each other: the product's lane, one fixed cosine, and Clopper-Pearson over labels alone."""

from collections.abc import Callable, Sequence

from bench.quality.memo import Remembering
from bench.quality.streams import Learned, Question
from embeddings.control import Lane, Verdict, label_of


class Served:
    """The product's lane. Labels come of every answer that was generated, for each neighbour no guard refused."""

    def __init__(
        self, verifier: Remembering, refuse: Callable[[str, str], str | None], target: float, seed: int | None = None
    ) -> None:
        self.lane = Lane(verifier, target=target, seed=str(seed).encode(), refuse=refuse)
        self._verdict: Verdict | None = None

    def choose(self, question: Question) -> int | None:
        self._verdict = verdict = self.lane.decide(question.reading, question.neighbours)
        if verdict.action != "serve" or verdict.neighbour is None:
            return None
        return question.neighbours.index(verdict.neighbour)

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:
        verdict = self._verdict
        assert verdict is not None
        known = list(zip(question.neighbours, is_right, strict=True))
        known.sort(key=lambda one: one[0] is not verdict.neighbour)  # the one that was chosen first
        for neighbour, right in known:
            label = label_of(verdict, question.reading.text, neighbour, is_right=right, source="shadow")
            if label is not None:
                self.lane.learn(label)
        return Learned(is_spent=verdict.action == "shadow")


class FixedCosine:
    """What peers ship: the nearest, from a cosine on."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def choose(self, question: Question) -> int | None:
        return 0 if question.neighbours[0].similarity >= self._threshold else None

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:  # noqa: ARG002
        return Learned()
