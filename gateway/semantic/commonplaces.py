"""Answers that say nothing about their questions: a refusal, an outage's text, a bare "Yes.".

Whoever answers everything alike would teach a lane that any question serves any other. So an answer that is given to
questions about quite different things is a commonplace: that two questions share it makes no label and no kinship.
Nothing is kept of it but what was seen: the memory is bounded, of this process, and the lane's own.

Real questions of one meaning are seldom so far apart. With four that are pairwise below a cosine of 0.3 a fixed answer
is known after 4 questions of clinc150, disfl_qa and mixed_zipf and after 6 of banking77 (medians); were each class
of these streams given one answer, 1 to 4 % of them would be taken for one (below 0.7: 97 %).
"""

from collections import OrderedDict

from embeddings.base import Vector
from gateway.semantic.rule import LaneKey

UNLIKE = 0.3  # a cosine below it: about quite different things
MOST = 3  # questions, pairwise unlike, that may share an answer
MAX_ANSWERS = 4096  # that are remembered, each with up to `MOST` vectors; the one given least lately goes

Key = tuple[LaneKey, bytes]


class Commonplaces:
    """What questions each answer was given to. Belongs to one event loop."""

    def __init__(self, max_answers: int = MAX_ANSWERS) -> None:
        self._max_answers = max_answers
        self._given: OrderedDict[Key, list[Vector] | None] = OrderedDict()  # None: a commonplace

    def __len__(self) -> int:
        return len(self._given)

    def note(self, lane: LaneKey, answer: bytes, question: Vector) -> None:
        """An answer, by its digest, was given to a question."""
        key = (lane, answer)
        others = self._given.setdefault(key, [])
        self._given.move_to_end(key)
        if others is not None and all(float(question @ other) < UNLIKE for other in others):
            others.append(question.copy())  # it may be a row of a whole batch
            if len(others) > MOST:
                self._given[key] = None
        if len(self._given) > self._max_answers:
            self._given.popitem(last=False)

    def has(self, lane: LaneKey, answer: bytes) -> bool:
        """Whether it is an answer to anything."""
        return self._given.get((lane, answer), ()) is None
