"""What goes into a lane and what comes out: values only."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from embeddings.base import Reading

Action = Literal["serve", "shadow", "pass"]
Source = Literal["shadow", "judge", "feedback"]
OUTDONE = "outdone"


class Compared(Protocol):
    """What a verifier says of two readings."""

    @property
    def probability(self) -> float: ...

    @property
    def features(self) -> tuple[float, ...]: ...  # standardised: a lane refits their weights


class Compares(Protocol):
    """A verifier, as far as a lane needs one: symmetric in its two readings, and deterministic."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str:
        """Of the embedder whose readings it compares; empty where nobody knows it."""
        ...

    def compare(self, a: Reading, b: Reading, /) -> Compared: ...

    def comparing(self, a: Reading, others: Sequence[Reading], /) -> Generator[None, None, Sequence[Compared]]:
        """What `compare` says of each, but for the last digit, in steps; all together cost less than one by one."""
        ...


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored question near the one asked; `answer` digests the words of its answer."""

    id: str
    reading: Reading
    similarity: float
    answer: bytes
    good: int = 0  # labels that said its answer served another question, too
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Looked:
    """What was made of one neighbour: refused by name, or judged. `features` are what a label of it gives back.

    `OUTDONE`: no guard was asked, as a surer one was served.
    """

    id: str
    similarity: float
    refusal: str | None
    probability: float | None
    features: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a question.

    `serve`: give the neighbour's answer. `shadow`: it would have been served; generate all the same, compare, and
    label. `pass`: generate; a neighbour that comes along is near enough for its label to be worth a comparison.
    A verdict on a bare form has no neighbour, as nothing was read: `wording` names the stored question.
    """

    action: Action
    neighbour: Neighbour | None
    probability: float | None
    threshold: float
    reason: str
    looked: tuple[Looked, ...] = ()
    wording: str | None = None

    @property
    def chosen(self) -> str | None:
        """The stored question that the verdict is about."""
        return self.neighbour.id if self.neighbour is not None else self.wording


@dataclass(frozen=True, slots=True)
class Label:
    """Someone knows now whether the answer of `entry`, given to `stored`, also serves `question`."""

    question: str
    stored: str
    entry: str
    is_right: bool
    source: Source
    probability: float  # as `Looked` had it, before anybody knew
    features: tuple[float, ...]  # likewise; none: the bare form was enough
    was_eligible: bool  # it was the neighbour the verdict chose: it would have been served, had the threshold allowed
    at_s: float = 0.0
    was_hit: bool = False  # its probability was high enough then: it was served, or kept back as a sample
    corrects: bool = False  # whoever says it said the opposite of the same answer before

    @property
    def is_wording(self) -> bool:
        """Whether it is about a hit by bare form: no verifier was asked."""
        return self.was_eligible and not self.features


def label_of(
    verdict: Verdict, question: str, neighbour: Neighbour, *, is_right: bool, source: Source, at_s: float = 0.0
) -> Label | None:
    """What is known now of one of the neighbours a verdict looked at; None when it was refused there."""
    looked = next((one for one in verdict.looked if one.id == neighbour.id), None)
    if looked is None or looked.probability is None:
        return None
    is_chosen = verdict.neighbour is not None and verdict.neighbour.id == neighbour.id
    return Label(
        question,
        neighbour.reading.text,
        neighbour.id,
        is_right,
        source,
        looked.probability,
        looked.features,
        is_chosen,
        at_s,
        was_hit=is_chosen and verdict.action != "pass",
    )


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What a lane knows about itself."""

    threshold: float
    wrong_rate: float | None  # of hits, served or kept back, whose outcome is known; None before the first
    wrong_rate_upper: float
    labels: Mapping[str, int]  # by source
    served: int
    shadowed: int
    known: int = 0  # hits whose outcome is known
    wrong: int = 0  # of these
