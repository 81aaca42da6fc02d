"""Requests over time: buckets of five seconds for an hour, of a minute for a day, of ten minutes for a week.

A request touches one bucket, the newest. What is older than the fine buckets reach was added to a coarser one when its
bucket ended; points are put together when somebody asks. Only buckets that had a request exist.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.ledger import Failure, Hits, Line
from gateway.live.tokens import Tokens
from gateway.outcome import TIERS, Tier

STEP_S = 5
LEVELS = ((STEP_S, 720), (60, 1440), (600, 1008))  # seconds, buckets
MOST_MINUTES = 600 * 1008 // 60
MOST_MODELS = 16  # of one bucket; tokens of more are counted as those of "other"
POINTS = 240  # told at most
OTHER = "other"
STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)

Money = Callable[[str, Tokens], float]  # what the tokens of a model saved


@dataclass(slots=True)
class Bucket:
    """What ended within some seconds."""

    start_s: int
    requests: dict[Tier, int] = field(default_factory=lambda: dict.fromkeys(TIERS, 0))
    errors: int = 0
    saved_s: float = 0.0
    models: dict[str, Tokens] = field(default_factory=dict)

    def tokens(self, model: str) -> Tokens:
        """The sums of a model."""
        tokens = self.models.get(model)
        if tokens is None:
            model = model if len(self.models) < MOST_MODELS else OTHER
            tokens = self.models.setdefault(model, Tokens())
        return tokens

    def merge(self, other: "Bucket") -> None:
        """Add all of the other."""
        for tier, count in other.requests.items():
            self.requests[tier] += count
        self.errors += other.errors
        self.saved_s += other.saved_s
        for model, tokens in other.models.items():
            self.tokens(model).merge(tokens)

    def point(self, money: Money) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "t": self.start_s,
            **{tier: self.requests[tier] for tier in TIERS},
            "errors": self.errors,
            "saved_tokens": sum(tokens.saved for tokens in self.models.values()),
            "saved_seconds": self.saved_s,
            "saved_money": sum(money(model, tokens) for model, tokens in self.models.items()),
        }


class Series:
    """Buckets, newest last. Belongs to one event loop."""

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._now = Bucket(int(started_s) // STEP_S * STEP_S)
        self._levels = [(step_s, deque[Bucket](maxlen=size)) for step_s, size in LEVELS]

    def add(self, line: Line | Failure, tier: Tier | None, at_s: float) -> None:
        """Count one request."""
        bucket = self._bucket(at_s)
        if tier is None or isinstance(line, Failure):
            bucket.errors += 1
            return
        bucket.requests[tier] += 1
        bucket.saved_s += line.saved_s
        bucket.tokens(line.model).count(line)

    def add_hits(self, hits: Hits, at_s: float) -> None:
        """Count several requests, all at this moment."""
        bucket, times = self._bucket(at_s), len(hits.each)
        bucket.requests[hits.outcome.tier] += times
        bucket.saved_s += hits.saved_s
        bucket.tokens(hits.model).count_hits(hits.usage, times)

    def told(self, minutes: int, now_s: float, money: Money) -> dict[str, Any]:
        """The last so many minutes as points of one step, those without a request included."""
        minutes = max(1, min(minutes, MOST_MINUTES))
        step_s = next((step for step in STEPS_S if minutes * 60 / step <= POINTS), STEPS_S[-1])
        last = int(now_s) // step_s * step_s
        first = max(last - minutes * 60 + step_s, int(self._started_s) // step_s * step_s)
        points = {start: Bucket(start) for start in range(first, last + 1, step_s)}
        for bucket in self._since(first, minutes):
            if (point := points.get(bucket.start_s // step_s * step_s)) is not None:
                point.merge(bucket)
        return {"step_s": step_s, "points": [point.point(money) for point in points.values()]}

    def _since(self, first_s: int, minutes: int) -> Iterator[Bucket]:
        level = next(buckets for step, buckets in self._levels if step * (buckets.maxlen or 0) >= minutes * 60)
        yield from (bucket for bucket in level if bucket.start_s >= first_s)
        yield self._now

    def _bucket(self, at_s: float) -> Bucket:
        bucket = self._now
        return bucket if 0 <= at_s - bucket.start_s < STEP_S else self._turned(at_s)

    def _turned(self, at_s: float) -> Bucket:
        """A new bucket; the one that ended goes to every level."""
        ended = self._now
        if any(ended.requests.values()) or ended.errors:
            for step_s, buckets in self._levels:
                start_s = ended.start_s // step_s * step_s
                if not buckets or buckets[-1].start_s != start_s:
                    buckets.append(Bucket(start_s))
                buckets[-1].merge(ended)
        self._now = Bucket(int(at_s) // STEP_S * STEP_S)
        return self._now
