"""The ledger: for every request which tier served it, why, and what it saved.

Totals are plain numbers, so the dashboard and `twicetold stats` read them without parsing metrics; Prometheus is
fed on the side. Whoever wants to hear of every request as it ends, answered or failed, listens here: the live view,
the access log, the spans. What a listener does is done on the event loop, so it only notes.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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


Listener = Callable[[Line | Failure], None]
LookupListener = Callable[[str, str, str], None]


class Ledger:
    """Where every request is written down."""

    def __init__(self, metrics: Metrics) -> None:
        self.totals = Totals()
        self._metrics = metrics
        self._warnings = Seldom(log)
        self._models: set[str] = set()
        self._listeners: list[Listener] = []
        self._lookup_listeners: list[LookupListener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every request that ends, from now on. It must be quick, and it must not raise."""
        self._listeners.append(listener)

    def listen_to_lookups(self, listener: LookupListener) -> None:
        """Call `listener` with every lookup: tier, outcome, reason. It must be quick, and it must not raise."""
        self._lookup_listeners.append(listener)

    def looked_up(self, tier: str, outcome: str, reason: str) -> None:
        """Count one lookup in one tier."""
        self._metrics.lookups.labels(tier, outcome, reason).inc()
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
        self._metrics.errors.labels(code, route).inc()
        if self._listeners:
            self._tell(Failure(code, route, status, model, tenant, id, total_s))

    def record(self, line: Line) -> None:
        """Count a request that was answered."""
        tier = line.tier
        mine = self.totals.tiers[tier]
        mine.requests += 1
        mine.seconds += line.total_s
        mine.ttft_seconds += line.ttft_s
        self._metrics.requests.labels(tier, self._model_label(line.model), line.route).inc()
        self._metrics.request_seconds.labels(tier).observe(line.total_s)
        self._metrics.ttft_seconds.labels(tier).observe(line.ttft_s)
        self._count_tokens(tier, line.usage)
        saved_s = line.saved_s
        self.totals.saved_seconds += saved_s
        self._metrics.saved_seconds.inc(saved_s)
        self._tell(line)

    @contextmanager
    def best_effort(self, step: str) -> Iterator[None]:
        """A broken cache is a miss: go on without it, and count it."""
        try:
            yield
        except CacheError as error:
            self.totals.cache_failures += 1
            self._metrics.cache_failures.labels(step).inc()
            self._warnings.warn(step, "%s failed, going on without it: %s", step, error)

    def _tell(self, line: Line | Failure) -> None:
        for listener in self._listeners:
            try:
                listener(line)
            except Exception:  # who listens must not break what it listens to
                log.exception("a listener failed")

    def _count_tokens(self, tier: Tier, usage: Usage) -> None:
        totals, tokens = self.totals, self._metrics.tokens
        if tier in ("exact", "semantic"):
            totals.saved_prompt_tokens += usage.prompt_tokens
            totals.saved_completion_tokens += usage.completion_tokens
            tokens.labels("saved_prompt").inc(usage.prompt_tokens)
            tokens.labels("saved_completion").inc(usage.completion_tokens)
            return
        computed = max(0, usage.prompt_tokens - usage.cached_tokens)
        totals.prompt_tokens += computed
        totals.completion_tokens += usage.completion_tokens
        totals.saved_prompt_tokens += usage.cached_tokens
        tokens.labels("prompt").inc(computed)
        tokens.labels("completion").inc(usage.completion_tokens)
        tokens.labels("saved_prompt").inc(usage.cached_tokens)

    def _model_label(self, model: str) -> str:
        if model not in self._models and len(self._models) >= MAX_MODEL_LABELS:
            return "other"
        self._models.add(model)
        return model


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
