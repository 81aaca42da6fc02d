"""One request with everything decided about it before any lookup."""

from dataclasses import dataclass, field, replace
from typing import Self

from backends.chat import ChatRequest
from backends.routing.router import Route
from gateway.answers.base import BACKEND, SHARED, Entry, Mark
from gateway.commons.rule import Place, copied_from
from gateway.controls import Controls
from gateway.identity.canonical import Fingerprints, question_of
from gateway.normalise.request import Normalised
from gateway.policy import Plan, Rules, semantic_refusal
from gateway.quota.policies import FREE, TenantPolicy
from gateway.quota.tab import Tab
from gateway.redaction import REASON
from gateway.semantic.found import Seen
from gateway.semantic.rule import LaneRule
from gateway.word import Word


@dataclass(frozen=True, slots=True)
class Asked:
    """What the layers below the pipeline are given. `started` is of `perf_counter`."""

    request: ChatRequest
    route: Route
    fp: Fingerprints
    plan: Plan
    controls: Controls
    rules: Rules
    started: float
    normal: Normalised  # what was taken out of it for its key
    policy: TenantPolicy = FREE  # of whoever asks; `rules` are under it already
    seen: Seen | None = None  # the neighbours whose answers were not served: this one will be compared with theirs
    was_stale: bool = False  # a stored answer was found, and it had ended
    place: Place | None = None  # where tenants share its answer, if they do
    unshared: str | None = None  # why not, on a route where they do
    common: Entry | None = None  # a shared answer, told as slowly as if it were made now
    origin: str = BACKEND  # who makes the answer: a backend, anew when it was stale, or whoever puts it
    tab: Tab | None = None  # who pays for what is generated; None: nobody
    began: Mark | None = None  # when it came: what is removed from then on is not kept; None: when it is generated
    word: Word | None = None  # waits until the store has the answer; None: nobody does
    may_generate: bool = True  # False: whoever asks has a model of its own, and only looks
    _read: list[str | None] = field(default_factory=list, compare=False, repr=False)  # of the text, once for all copies

    @property
    def semantic_refusal(self) -> str | None:
        """Why other wordings are out of question. Reads the text, so it is asked only after an exact miss."""
        if self.controls.is_redacted:
            return REASON
        if not self._read:  # nothing that a copy changes is asked
            temperature = float(self.route.model.defaults.get("temperature", 1.0))
            self._read.append(semantic_refusal(self.request, self._text, self.rules, temperature))
        return self._read[0]

    @property
    def rule(self) -> LaneRule:
        """What the operator allows of this tenant's traffic on this route."""
        return LaneRule.of(self.request.owner, self.rules)

    @property
    def question(self) -> str | None:
        """The question, when other wordings of it may share its answer."""
        return self._text if self.semantic_refusal is None else None

    @property
    def reads_loosely(self) -> bool:
        """Whether its last turn may be answered for another history, where that is worth a look."""
        has_history = len(self.request.messages) > 1
        return self.rules.history == "loose" and has_history and self.semantic_refusal in (None, "deictic")

    def near(self, answer: str) -> Self:
        """The same with the answer of a near miss to draft from; the first one stays."""
        if not answer or self.request.near_answer:
            return self
        return replace(self, request=replace(self.request, near_answer=answer))

    @property
    def is_padded(self) -> bool:
        """Whether what tenants share is told as slowly as it was made."""
        return self.rules.pads_shared_hits and self.place is not None

    def slowly(self, common: Entry) -> Self:
        """The same with a shared answer to be told in place of a generation, and kept as one's own like it."""
        tags = (*self.controls.tags, *copied_from(common))
        return replace(self, common=common, origin=SHARED, controls=replace(self.controls, tags=tags))

    def stale(self, answer: str) -> Self:
        """The same after an answer was found that has ended; it is drafted from."""
        return replace(self.near(answer), was_stale=True)

    @property
    def _text(self) -> str | None:
        return question_of(self.request)
