"""What a look for other words finds. Values only, without the libraries behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.answers.base import Entry
from gateway.answers.digest import digest_of_words
from gateway.semantic.rule import LaneRule

if TYPE_CHECKING:
    from embeddings.control import Verdict

SAME_QUESTION = "same_question"
SAME_WORDING = "same_wording"
TOOLS_CALLED = "tools_called"  # by what would have been served: it stays with its own words
OTHER_HISTORY = "other_history"  # the same question after another history, in whatever words


@dataclass(frozen=True, slots=True)
class Judged:
    """A stored question beside the one asked, and what was thought of the two: what a label of them needs.

    Small enough to be kept for as long as a user may still say what an answer was worth.
    """

    rule: LaneRule
    scope: bytes
    question: str
    stored: str
    entry: str
    probability: float
    features: tuple[float, ...]
    was_eligible: bool  # it was the one that would be served
    words_until_s: float | None = None
    was_hit: bool = False  # and its probability was high enough then


@dataclass(frozen=True, slots=True)
class Seen:
    """A question, its neighbours and the lane's verdict: kept while the answer is made, for comparing."""

    rule: LaneRule
    scope: bytes
    question: str
    verdict: "Verdict"
    entries: Mapping[str, Entry]  # of the neighbours, by id

    def light(self) -> "Seen":
        """Without the reading of the neighbour: it is large, and comparing does not need it."""
        return replace(self, verdict=replace(self.verdict, neighbour=None, wording=self.verdict.chosen))

    def judged(self) -> list[Judged]:
        """Every neighbour that was weighed, the one that counts first."""
        chosen = self.verdict.chosen
        found = [
            Judged(
                self.rule,
                self.scope,
                self.question,
                self.entries[one.id].question or "",
                one.id,
                one.probability,
                one.features,
                one.id == chosen,
                self.entries[one.id].expires_s,
                one.id == chosen and self.verdict.action != "pass",
            )
            for one in self.verdict.looked
            if one.probability is not None
        ]
        return sorted(found, key=lambda one: not one.was_eligible)


@dataclass(frozen=True, slots=True)
class Match:
    """A stored answer to other words that may be served."""

    entry: Entry
    similarity: float | None  # None: the words were enough
    seen: Seen
    reason: str = SAME_QUESTION


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why nothing may be served; `similarity` of the nearest candidate if there was one, and a near one's answer."""

    reason: str
    similarity: float | None = None
    near_answer: str = ""
    seen: Seen | None = None

    @property
    def is_shadowed(self) -> bool:
        """Whether there is an answer that would have been served."""
        return self.seen is not None and self.seen.verdict.action == "shadow"

    def unsampled(self) -> "Match | NoMatch":
        """What a sample would have served."""
        return self if self.seen is None else match_of(self.seen) or self


def match_of(seen: Seen) -> Match | None:
    """The stored answer that a verdict is about, if it is about one and may be said to other words."""
    verdict = seen.verdict
    if verdict.chosen is None or seen.entries[verdict.chosen].completion.calls_tools:
        return None
    similarity = None if verdict.neighbour is None else verdict.neighbour.similarity
    same = SAME_WORDING if verdict.neighbour is None else SAME_QUESTION
    return Match(seen.entries[verdict.chosen], similarity, seen, OTHER_HISTORY if seen.rule.is_loose else same)


def digest_of(entry: Entry) -> bytes:
    """The same for answers of the same words."""
    return digest_of_words(entry.completion)
