"""Policies beside each other: what the product does, and one fixed cosine."""

from collections.abc import Sequence

from bench.quality.memo import Remembering
from bench.quality.refits import Refits
from bench.quality.walk import Learned, Question
from embeddings.control import Label, Lane, Neighbour, Verdict, label_of
from embeddings.control.prior import Prior
from gateway.semantic.minds import TwoMinds
from gateway.semantic.search import FAR


class Served:
    """The product's lane. Labels come of every answer that was generated, for each stored one that was weighed."""

    def __init__(
        self,
        first: Remembering,
        target: float,
        seed: int | None = None,
        *,
        prior: Prior | None = None,
        is_refitted: bool = False,
    ) -> None:
        """`is_refitted`: a verifier of the lane's own is fitted to its labels as they come. `prior`: not the one that
        is shipped."""
        uses = TwoMinds(first)
        self.lane = Lane(uses, target=target, seed=str(seed).encode(), refuse=first.memo.refusal, prior=prior)
        self.refits = Refits(first, uses) if is_refitted else None
        self.verdict: Verdict | None = None  # the last one; None: the lane was not asked

    def choose(self, question: Question) -> int | None:
        near = _near(question)
        if not near:
            self.verdict = None
            return None
        if self.refits is not None:
            self.refits.look_ahead(question.reading, [neighbour.reading for neighbour in near])
        self.verdict = verdict = self.lane.decide(question.reading, near)
        if verdict.action != "serve" or verdict.neighbour is None:
            return None
        return near.index(verdict.neighbour)

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:
        verdict = self.verdict
        if verdict is None:
            return Learned()
        known = list(zip(_near(question), is_right, strict=False))
        known.sort(key=lambda one: one[0] is not verdict.neighbour)  # the one that was chosen first
        for neighbour, right in known:
            label = label_of(verdict, question.reading.text, neighbour, is_right=right, source="shadow")
            if label is not None:
                self._learn(label)
        return Learned(is_spent=verdict.action == "shadow")

    def choose_wording(self, text: str, stored: str) -> bool:
        self.verdict = self.lane.decide_wording(text, stored)
        return self.verdict.action == "serve"

    def learn_wording(self, text: str, stored: str, *, is_right: bool) -> Learned:
        assert self.verdict is not None
        was_hit = self.verdict.action == "shadow"
        chance = self.verdict.probability or 0.0
        self._learn(Label(text, stored, stored, is_right, "shadow", chance, (), was_eligible=True, was_hit=was_hit))
        return Learned(is_spent=was_hit)

    def _learn(self, label: Label) -> None:
        self.lane.learn(label)
        if self.refits is not None:
            self.refits.note(label)


class FixedCosine:
    """What peers ship: the nearest, from a cosine on."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def choose(self, question: Question) -> int | None:
        return 0 if question.neighbours[0].similarity >= self._threshold else None

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:  # noqa: ARG002
        return Learned()


def _near(question: Question) -> list[Neighbour]:
    """What the product looks at."""
    return [neighbour for neighbour in question.neighbours if neighbour.similarity >= FAR]
