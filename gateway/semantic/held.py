"""A lane in memory, and what the tier asks of one."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from embeddings.base import Reading
from embeddings.control import Compares, Label, LaneReport, Neighbour, Verdict
from gateway.semantic.minds import TwoMinds
from gateway.semantic.rule import LaneRule
from gateway.semantic.tallies import Known


class Decides(Protocol):
    """What a lane does; not safe between threads."""

    def decide(
        self,
        question: Reading,
        neighbours: Sequence[Neighbour],
        *,
        min_similarity: float = 0.0,
        is_shadow_only: bool = False,
    ) -> Verdict: ...

    def decide_wording(self, question: str, entry: str, *, is_shadow_only: bool = False) -> Verdict: ...

    def learn(self, label: Label) -> None: ...

    def report(self) -> LaneReport: ...


class NewLane(Protocol):
    """Makes an empty lane."""

    def __call__(self, verifier: Compares, *, target: float, shadow_rate: float, seed: bytes) -> Decides: ...


@dataclass(slots=True, eq=False)
class Held:
    """A lane with its rule, its verifier, and what it knows about itself."""

    rule: LaneRule
    lane: Decides
    verifier: TwoMinds
    report: LaneReport
    labels: Counter[tuple[str, bool]] = field(default_factory=Counter)  # by source, and whether it was right
    known: Known = field(default_factory=Known)
    is_quick: bool = False  # it decides in a millisecond or so
    lock: threading.Lock = field(default_factory=threading.Lock)  # of the lane: had by whoever touches it

    def learn(self, label: Label) -> None:
        self.lane.learn(label)
        if label.corrects and self.labels[label.source, not label.is_right] > 0:
            self.labels -= Counter([(label.source, not label.is_right)])
        self.labels[label.source, label.is_right] += 1
        if label.was_eligible:
            self.known.note(label.probability, is_right=label.is_right, corrects=label.corrects)
