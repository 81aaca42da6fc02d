"""Every metric, named once; the only import of the Prometheus client.

Counters are fed by `gateway.ledger` as things happen. What other parts count for themselves (blocks, rows, backends)
is read from them when Prometheus asks, through `Gauges`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value another part keeps for itself; `is_total` marks one that only grows."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    is_total: bool = False


Kind = TypeVar("Kind", Counter, Histogram)


class Labelled(Generic[Kind]):
    """A metric by its labels. The client looks them up under a lock, which took half of a line of the ledger."""

    def __init__(self, metric: Kind) -> None:
        self.labels: Callable[..., Kind] = lru_cache(maxsize=4096)(metric.labels)


class Metrics:
    """The gateway's metrics on a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Labelled(Counter(
            "twicetold_requests", "Answered requests by the tier that served them", ["tier", "model", "route"],
            registry=registry,
        ))  # fmt: skip
        self.errors = Counter(
            "twicetold_errors", "Requests that ended in an error", ["code", "route"], registry=registry
        )
        self.lookups = Labelled(
            Counter("twicetold_lookups", "Cache lookups", ["tier", "outcome", "reason"], registry=registry)
        )
        self.request_seconds = Labelled(
            Histogram(
                "twicetold_request_seconds", "Time to the last byte", ["tier"], registry=registry, buckets=SECONDS
            )
        )
        self.ttft_seconds = Labelled(
            Histogram(
                "twicetold_ttft_seconds", "Time to the first content", ["tier"], registry=registry, buckets=SECONDS
            )
        )
        self.tokens = Labelled(Counter("twicetold_tokens", "Tokens by kind", ["kind"], registry=registry))
        self.saved_seconds = Counter(
            "twicetold_saved_seconds", "Generation time that stored answers made unnecessary", registry=registry
        )
        self.cache_failures = Counter(
            "twicetold_cache_failures", "Cache steps that failed and were done without", ["step"], registry=registry
        )

    def watch(self, read: Callable[[], Iterable[Sample]]) -> None:
        """Export what `read` returns, asked anew at every scrape."""
        self.registry.register(_Watched(read))

    def render(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Watched:
    """A Prometheus collector over plain values."""

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self._read():
            family = families.get(sample.name)
            if family is None:
                kind = CounterMetricFamily if sample.is_total else GaugeMetricFamily
                family = families[sample.name] = kind(
                    sample.name, sample.help, labels=[name for name, _ in sample.labels]
                )
            family.add_metric([value for _, value in sample.labels], sample.value)
        yield from families.values()
