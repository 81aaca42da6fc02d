"""What the dashboard, the feed and `twicetold stats` know of requests that ended: the one listener of the ledger.

    hear     a line or a failure -> ring of the last thousand, bucket of now, histograms; a few microseconds
    ask      rows, series, percentiles, money: put together when somebody asks, at the prices of then

Readers of the feed hold nothing here: they remember how far they have read, and look again. So they cost a request
nothing, and who reads too slowly misses rows and is told how many.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from gateway.ledger import Each, Failure, Hits, Line
from gateway.live.percentiles import Histogram
from gateway.live.prices import FREE, Prices
from gateway.live.series import OTHER, Series
from gateway.live.tokens import Tokens, tokens_of
from gateway.outcome import TIERS, Tier

KEPT = 1_000
MOST_MODELS = 100  # anybody can make up a name
RECENT_SLOT_S = 600  # percentiles of the last hour: six slots and the one of now
RECENT_SLOTS = 6


class Row(NamedTuple):
    """A request that ended, when, and the how manieth it was."""

    number: int
    at_s: float
    line: Line | Failure


Bare: TypeAlias = tuple[int, Hits, Each]  # a row of many that were told together: made when somebody looks


def _row(row: "Row | Bare") -> "Row":
    if isinstance(row, Row):
        return row
    number, hits, each = row
    return Row(number, each[1], hits.line(each))


class Latencies:
    """Time to the first content and to the end, of every tier."""

    __slots__ = ("start_s", "tiers")

    def __init__(self, start_s: float = 0.0) -> None:
        self.start_s = start_s
        self.tiers: dict[Tier, tuple[Histogram, Histogram]] = {tier: (Histogram(), Histogram()) for tier in TIERS}

    def merge(self, other: "Latencies") -> None:
        for tier, (ttft, total) in other.tiers.items():
            self.tiers[tier][0].merge(ttft)
            self.tiers[tier][1].merge(total)

    def told(self) -> dict[str, Any]:
        """Percentiles in seconds, None where a tier had no request."""
        return {
            tier: {"count": total.total, "ttft": ttft.percentiles(), "total": total.percentiles()}
            for tier, (ttft, total) in self.tiers.items()
        }


class Recent:
    """Hears every request that ends. Belongs to one event loop."""

    def __init__(self, prices: Prices, *, clock: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        self.prices = prices
        self.started_s = clock()
        self.last = 0  # the number of the newest row
        self._clock = clock
        self._rows: deque[Row | Bare] = deque(maxlen=kept)
        self._series = Series(self.started_s)
        self._models: dict[str, Tokens] = {}
        self._latencies = Latencies(self.started_s)
        self._slots: deque[Latencies] = deque(maxlen=RECENT_SLOTS)
        self._earlier = Latencies()

    def hear(self, line: Line | Failure) -> None:
        """Note a request. On the road of every one, behind its last byte."""
        at_s = self._clock()
        self.last += 1
        self._rows.append(Row(self.last, at_s, line))
        if isinstance(line, Failure):
            self._series.add(line, None, at_s)
            return
        tier = line.tier
        self._series.add(line, tier, at_s)
        self._tokens(line.model).count(line)
        ttft, total = self._latest(at_s).tiers[tier]
        ttft.add(line.ttft_s)
        total.add(line.total_s)

    def hear_hits(self, hits: Hits) -> None:
        """Note many at once; only those that stay are looked at one by one."""
        at_s, each = self._clock(), hits.each
        first = max(0, len(each) - (self._rows.maxlen or 0))
        self._rows.extend((number, hits, one) for number, one in enumerate(each[first:], self.last + first + 1))
        self.last += len(each)
        self._series.add_hits(hits, at_s)
        self._tokens(hits.model).count_hits(hits.usage, len(each))
        for histogram in self._latest(at_s).tiers[hits.outcome.tier]:
            histogram.add_all(total_s for _, _, total_s, _ in each)

    def count(self, tenant: str) -> int:
        """How many of the last requests are a tenant's and hold words."""
        return sum(_has_words_of(row, tenant) for row in self._rows)

    def forget(self, tenant: str, until_s: float = math.inf) -> int:
        """Blank the words of a tenant's requests up to a moment; how many had some. Their numbers stay."""
        count = 0
        for at, bare in enumerate(self._rows):
            if _has_words_of(bare, tenant) and (row := _row(bare)).at_s <= until_s and isinstance(row.line, Line):
                self._rows[at] = row._replace(line=replace(row.line, question=None))
                count += 1
        return count

    def forget_before(self, at_s: float) -> int:
        """Blank the words of requests up to a moment; how many had some."""
        old = [row.line for row in map(_row, self._rows) if row.at_s <= at_s and isinstance(row.line, Line)]
        return sum(self.forget(tenant, at_s) for tenant in {line.tenant for line in old if line.question is not None})

    # -- asked -------------------------------------------------------------------------------------------------------

    def rows(self, limit: int = KEPT, tier: str = "", model: str = "") -> Iterator[dict[str, Any]]:
        """The last requests, newest first; `tier` may be "error"."""
        for row in map(_row, reversed(self._rows)):
            if limit <= 0:
                return
            if _is_of(row.line, tier, model):
                limit -= 1
                yield self.told(row)

    def after(self, number: int, most: int) -> list[Row]:
        """The rows since one, oldest first, the newest `most` of them."""
        if number >= self.last:
            return []
        new = min(most, self.last - number, len(self._rows))
        return [_row(row) for row in islice(self._rows, len(self._rows) - new, None)]

    def told(self, row: Row) -> dict[str, Any]:
        """A row as the API tells it."""
        line = row.line
        if isinstance(line, Failure):
            return _failure_told(row, line)
        outcome, usage, tokens = line.outcome, line.usage, tokens_of(line)
        return {
            "id": line.id,
            "t": row.at_s,
            "tier": line.tier,
            "reason": outcome.reason,
            "model": line.model,
            "route": line.route,
            "tenant": line.tenant,
            "status": line.status,
            "ttft_ms": line.ttft_s * 1000,
            "total_ms": line.total_s * 1000,
            "overhead_ms": outcome.overhead_s * 1000,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "saved_tokens": tokens.saved,
            "saved_seconds": line.saved_s,
            "saved_money": self._money(line.model, tokens),
            "similarity": outcome.similarity,
            "entry": outcome.entry,
            "question": line.question,
        }

    def series(self, minutes: int) -> dict[str, Any]:
        """Requests over time."""
        return self._series.told(minutes, self._clock(), self._money)

    def figures(self) -> dict[str, Any]:
        """What `/admin/api/stats` has from here."""
        ever, lately = Latencies(), Latencies()
        now_s = self._clock()
        for slot in (self._earlier, *self._slots, self._latencies):
            ever.merge(slot)
        for slot in (*self._slots, self._latencies):
            if slot.start_s > now_s - RECENT_SLOT_S * (RECENT_SLOTS + 1):
                lately.merge(slot)
        return {
            "started": self.started_s,
            "latency": ever.told(),
            "latency_last_hour": lately.told(),
            "money": self.money(),
        }

    def money(self) -> dict[str, Any]:
        """What was saved and spent since the start, at the prices of now."""
        by_model = {}
        for model, tokens in sorted(self._models.items()):
            price = self.prices.of(model)
            saved, spent = tokens.money_saved(price or FREE), tokens.money_spent(price or FREE)
            by_model[model] = {"saved": saved, "spent": spent, "is_priced": price is not None}
        return {
            "currency": self.prices.currency,
            "saved": sum(one["saved"] for one in by_model.values()),
            "spent": sum(one["spent"] for one in by_model.values()),
            "by_model": by_model,
        }

    @property
    def models(self) -> list[str]:
        """Those that had requests."""
        return list(self._models)

    def _money(self, model: str, tokens: Tokens) -> float:
        return tokens.money_saved(self.prices.of(model) or FREE)

    def _tokens(self, model: str) -> Tokens:
        tokens = self._models.get(model)
        if tokens is None:
            model = model if len(self._models) < MOST_MODELS else OTHER
            tokens = self._models.setdefault(model, Tokens())
        return tokens

    def _latest(self, at_s: float) -> Latencies:
        if at_s - self._latencies.start_s >= RECENT_SLOT_S:
            self._turn(at_s)
        return self._latencies

    def _turn(self, at_s: float) -> None:
        if len(self._slots) == RECENT_SLOTS:
            self._earlier.merge(self._slots[0])
        self._slots.append(self._latencies)
        self._latencies = Latencies(at_s)


def _has_words_of(row: Row | Bare, tenant: str) -> bool:
    said = row.line if isinstance(row, Row) else row[1]
    return isinstance(said, Line | Hits) and said.tenant == tenant and said.question is not None


def _is_of(line: Line | Failure, tier: str, model: str) -> bool:
    if model and line.model != model:
        return False
    return not tier or tier == ("error" if isinstance(line, Failure) else line.tier)


def _failure_told(row: Row, failure: Failure) -> dict[str, Any]:
    return {
        "id": failure.id,
        "t": row.at_s,
        "tier": "error",
        "reason": failure.code,
        "model": failure.model,
        "route": failure.route,
        "tenant": failure.tenant,
        "status": failure.status,
        "error": failure.code,
        "ttft_ms": None,
        "total_ms": failure.total_s * 1000,
        "overhead_ms": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cached_tokens": 0,
        "saved_tokens": 0,
        "saved_seconds": 0.0,
        "saved_money": 0.0,
        "similarity": None,
        "entry": None,
        "question": None,
    }
