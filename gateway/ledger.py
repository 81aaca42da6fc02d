"""The ledger: for every request which tier served it, why, and what it saved.

Totals are plain numbers, so the dashboard and `twicetold stats` read them without parsing metrics; Prometheus is
fed on the side. Whoever wants to hear of every request as it ends, answered or failed, listens here: the live view,
the access log, the spans. What a listener does is done on the event loop, so it only notes.

Many answers of one stored entry may be told at once (`Hits`): the express road notes each as a tuple and settles them
together, for a line costs more than such a hit.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, TypeAlias

from backends.chat import Usage
from gateway.answers.base import CacheError
from gateway.metrics import Metrics
from gateway.outcome import TIERS, Outcome, Tier
from gateway.seldom import Seldom

log = logging.getLogger(__name__)

MAX_MODEL_LABELS = 100  # an upstream takes any name; a metrics store does not
HEAD_CHARS = 240  # of a question that a line carries


@dataclass(slots=True)
class TierTotals:
    """What one tier did since the start."""

    requests: int = 0
    seconds: float = 0.0
    ttft_seconds: float = 0.0


@dataclass(slots=True)
class Totals:
    """Everything since the start of the process."""

    tiers: dict[Tier, TierTotals] = field(default_factory=lambda: {tier: TierTotals() for tier in TIERS})
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    saved_prompt_tokens: int = 0
    saved_completion_tokens: int = 0
    saved_seconds: float = 0.0
    cache_failures: int = 0

    @property
    def requests(self) -> int:
        return sum(tier.requests for tier in self.tiers.values())

    def hit_ratio(self, tier: Tier) -> float:
        """Requests this tier served, of all that were answered."""
        return self.tiers[tier].requests / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One request that was answered."""

    outcome: Outcome
    model: str
    route: str
    usage: Usage
    ttft_s: float
    total_s: float
    id: str = ""  # of the response
    tenant: str = ""
    question: str | None = None  # the head of it, to be shown to the operator; None: none, or it is not to be kept
    status: int = 200

    @property
    def tier(self) -> Tier:
        """The tier by what is known at the end: an upstream reports its cached tokens only then."""
        if self.outcome.tier == "full" and self.usage.cached_tokens > 0:
            return "kv"
        return self.outcome.tier

    @property
    def saved_s(self) -> float:
        """What the generation had taken, less what the hit took."""
        return max(0.0, self.outcome.saved_s - self.total_s) if self.outcome.is_stored else 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that ended in an error. What was not known yet when it did is empty."""

    code: str
    route: str
    status: int = 500
    model: str = ""
    tenant: str = ""
    id: str = ""
    total_s: float = 0.0


Each: TypeAlias = tuple[str, float, float, float]  # response id, when it ended (unix), seconds in all, of overhead


@dataclass(frozen=True, slots=True)
class Hits:
    """Answers of one stored entry to one tenant's requests of one kind: what they share, and what is of each alone."""

    outcome: Outcome  # of one that is told at `at_s`; of each, its age is that much older
    at_s: float
    model: str
    route: str
    usage: Usage
    each: Sequence[Each]  # oldest first; their first content came with their last
    tenant: str = ""
    question: str | None = None

    def line(self, each: Each) -> Line:
        """One of them."""
        response_id, ended_s, total_s, overhead_s = each
        older_s, outcome = ended_s - self.at_s, self.outcome
        outcome = replace(
            outcome,
            age_s=None if outcome.age_s is None else max(0.0, outcome.age_s + older_s),
            ttl_s=None if outcome.ttl_s is None else outcome.ttl_s - older_s,
            overhead_s=overhead_s,
        )
        return Line(
            outcome, self.model, self.route, self.usage, total_s, total_s, response_id, self.tenant, self.question
        )

    @property
    def saved_s(self) -> float:
        """What their generations had taken, less what they took."""
        saved_s = self.outcome.saved_s
        return sum(max(0.0, saved_s - total_s) for _, _, total_s, _ in self.each)


Listener = Callable[[Line | Failure], None]
HitsListener = Callable[[Hits], None]
LookupListener = Callable[[str, str, str], None]


class Ledger:
    """Where every request is written down."""

    def __init__(self, metrics: Metrics) -> None:
        self.totals = Totals()
        self._metrics = metrics
        self._warnings = Seldom(log)
        self._models: set[str] = set()
        self._listeners: list[tuple[Listener, HitsListener]] = []
        self._lookup_listeners: list[LookupListener] = []

    def listen(self, listener: Listener, of_hits: HitsListener | None = None) -> None:
        """Call `listener` with every request that ends, from now on, and `of_hits` with those that are told together;
        without one, the listener hears their lines. They must be quick, and they must not raise."""

        def one_by_one(hits: Hits) -> None:
            for each in hits.each:
                listener(hits.line(each))

        self._listeners.append((listener, of_hits or one_by_one))

    def listen_to_lookups(self, listener: LookupListener) -> None:
        """Call `listener` with every lookup: tier, outcome, reason. It must be quick, and it must not raise."""
        self._lookup_listeners.append(listener)

    def looked_up(self, tier: str, outcome: str, reason: str) -> None:
        """Count one lookup in one tier."""
        self._metrics.lookups.add(tier, outcome, reason)
        for listener in self._lookup_listeners:
            listener(tier, outcome, reason)

    def failed(
        self,
        code: str,
        route: str,
        *,
        status: int = 500,
        model: str = "",
        tenant: str = "",
        id: str = "",
        total_s: float = 0.0,
    ) -> None:
        """Count a request that ended in an error."""
        self.totals.errors += 1
        self._metrics.errors.add(code, route)
        if self._listeners:
            self._tell(Failure(code, route, status, model, tenant, id, total_s))

    def record(self, line: Line) -> None:
        """Count a request that was answered."""
        tier = line.tier
        mine = self.totals.tiers[tier]
        mine.requests += 1
        mine.seconds += line.total_s
        mine.ttft_seconds += line.ttft_s
        metrics = self._metrics
        metrics.requests.add(tier, self._model_label(line.model), line.route)
        metrics.request_seconds.add(tier, line.total_s)
        metrics.ttft_seconds.add(tier, line.ttft_s)
        self._count_tokens(tier, line.usage)
        saved_s = line.saved_s
        self.totals.saved_seconds += saved_s
        metrics.saved_seconds.add(by=saved_s)
        self._tell(line)

    def record_hits(self, hits: Hits) -> None:
        """Count requests that were answered by one stored entry, and the lookups that found it.

        Who listens to lookups hears nothing of these: none was made.
        """
        tier, times, metrics = hits.outcome.tier, len(hits.each), self._metrics
        seconds = [total_s for _, _, total_s, _ in hits.each]
        mine = self.totals.tiers[tier]
        mine.requests += times
        mine.seconds += (spent_s := sum(seconds))
        mine.ttft_seconds += spent_s
        metrics.lookups.add(tier, "hit", hits.outcome.reason, by=times)
        metrics.requests.add(tier, self._model_label(hits.model), hits.route, by=times)
        metrics.request_seconds.add(tier, *seconds)
        metrics.ttft_seconds.add(tier, *seconds)
        self._count_tokens(tier, hits.usage, times)
        self.totals.saved_seconds += (saved_s := hits.saved_s)
        metrics.saved_seconds.add(by=saved_s)
        for _, listener in self._listeners:
            try:
                listener(hits)
            except Exception:
                log.exception("a listener failed")

    def best_effort(self, step: str) -> "_BestEffort":
        """A broken cache is a miss: go on without it, and count it."""
        return _BestEffort(self, step)

    def cache_failed(self, step: str, error: CacheError) -> None:
        """Count a step that was done without, and tell of it now and then."""
        self.totals.cache_failures += 1
        self._metrics.cache_failures.add(step)
        self._warnings.warn(step, "%s failed, going on without it: %s", step, error)

    def _tell(self, line: Line | Failure) -> None:
        for listener, _ in self._listeners:
            try:
                listener(line)
            except Exception:  # who listens must not break what it listens to
                log.exception("a listener failed")

    def _count_tokens(self, tier: Tier, usage: Usage, times: int = 1) -> None:
        totals, add = self.totals, self._metrics.tokens.add
        if tier in ("exact", "semantic"):
            prompt, completion = usage.prompt_tokens * times, usage.completion_tokens * times
            totals.saved_prompt_tokens += prompt
            totals.saved_completion_tokens += completion
            add("saved_prompt", by=prompt)
            add("saved_completion", by=completion)
            return
        computed = max(0, usage.prompt_tokens - usage.cached_tokens)
        totals.prompt_tokens += computed
        totals.completion_tokens += usage.completion_tokens
        totals.saved_prompt_tokens += usage.cached_tokens
        add("prompt", by=computed)
        add("completion", by=usage.completion_tokens)
        add("saved_prompt", by=usage.cached_tokens)

    def _model_label(self, model: str) -> str:
        if model not in self._models and len(self._models) >= MAX_MODEL_LABELS:
            return "other"
        self._models.add(model)
        return model


class _BestEffort:
    """Swallows a `CacheError`. A class: one made of a generator takes three times as long, several times a request."""

    __slots__ = ("_ledger", "_step")

    def __init__(self, ledger: Ledger, step: str) -> None:
        self._ledger = ledger
        self._step = step

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, CacheError):
            return False
        self._ledger.cache_failed(self._step, error)
        return True


def head_of(question: str | None) -> str | None:
    """As much of a question as a line carries."""
    return question if question is None or len(question) <= HEAD_CHARS else question[:HEAD_CHARS] + "\u2026"


def snapshot(totals: Totals) -> dict[str, Any]:
    """The totals as JSON for `/admin/api/stats`."""
    return {
        "requests": totals.requests,
        "errors": totals.errors,
        "cache_failures": totals.cache_failures,
        "tiers": {
            name: {
                "requests": tier.requests,
                "hit_ratio": totals.hit_ratio(name),
                "mean_seconds": tier.seconds / tier.requests if tier.requests else None,
                "mean_ttft_seconds": tier.ttft_seconds / tier.requests if tier.requests else None,
            }
            for name, tier in totals.tiers.items()
        },
        "tokens": {
            "prompt": totals.prompt_tokens,
            "completion": totals.completion_tokens,
            "saved_prompt": totals.saved_prompt_tokens,
            "saved_completion": totals.saved_completion_tokens,
        },
        "saved_seconds": totals.saved_seconds,
    }
