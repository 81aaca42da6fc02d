"""Answers that say nothing about their questions: a refusal, an outage's text, a bare "Yes.".

Whoever answers everything alike would teach a lane that any question serves any other. So an answer that is given to
questions about quite different things is a commonplace: that two questions share it makes no label and no kinship.
Nothing is kept of it but what was seen: the memory is bounded, of this process, and the lane's own.

Real questions of one meaning are seldom so far apart. With four that are pairwise below a cosine of 0.3 a fixed answer
is known after 4 questions of clinc150, disfl_qa and mixed_zipf and after 6 of banking77 (medians); were each class
of these streams given one answer, 1 to 4 % of them would be taken for one (below 0.7: 97 %).
"""

from collections import OrderedDict
from collections.abc import Iterable

from embeddings.base import Vector
from gateway.semantic.rule import LaneKey

UNLIKE = 0.3  # a cosine below it: about quite different things
MOST = 3  # questions, pairwise unlike, that may share an answer
PER_LANE = 2048  # answers that are remembered, each with up to `MOST` vectors; the one given least lately goes
IN_ALL = 8192  # likewise, of the lane that said something least lately
_UNSEEN: list[Vector] = []  # stands for an answer that was not given yet


class Commonplaces:
    """What questions each answer was given to. No lane pushes out another's. Belongs to one event loop."""

    def __init__(self, per_lane: int = PER_LANE, in_all: int = IN_ALL) -> None:
        self._per_lane = per_lane
        self._in_all = in_all
        self._size = 0
        self._given: OrderedDict[LaneKey, OrderedDict[bytes, list[Vector] | None]] = (
            OrderedDict()
        )  # None: a commonplace

    def __len__(self) -> int:
        return self._size

    def note(self, lane: LaneKey, answer: bytes, question: Vector) -> None:
        """An answer, by its digest, was given to a question."""
        self.note_all(lane, [(answer, question)])

    def note_all(self, lane: LaneKey, answers: Iterable[tuple[bytes, Vector]]) -> list[bool]:
        """As `note` of each in turn; of each whether it is, by then, an answer to anything."""
        given = self._given.get(lane)
        if given is None:
            given = self._given[lane] = OrderedDict()
        self._given.move_to_end(lane)
        found = []
        for answer, question in answers:
            others = given.get(answer, _UNSEEN)
            if others is _UNSEEN:
                given[answer] = [question.copy()]  # it may be a row of a whole batch
                self._size += 1
                if len(given) > self._per_lane:
                    self._forget_one(lane)
                if self._size > self._in_all:
                    self._forget_one(next(iter(self._given)))
                found.append(False)
                continue
            given.move_to_end(answer)
            if others is not None and max([float(question @ other) for other in others]) < UNLIKE:
                others.append(question.copy())
                if len(others) > MOST:
                    given[answer] = others = None
            found.append(others is None)
        return found

    def has(self, lane: LaneKey, answer: bytes) -> bool:
        """Whether it is an answer to anything."""
        given = self._given.get(lane)
        return given is not None and given.get(answer, ()) is None

    def forget(self, tenant: str) -> None:
        """Forget what a tenant's lanes were told."""
        for lane in [lane for lane in self._given if lane.tenant == tenant]:
            self._size -= len(self._given.pop(lane))

    def _forget_one(self, lane: LaneKey) -> None:
        given = self._given[lane]
        given.popitem(last=False)
        self._size -= 1
        if not given:
            del self._given[lane]
