"""Every metric, named once; the only import of the Prometheus client.

Counters are fed by `gateway.ledger` as things happen. What other parts count for themselves (blocks, rows, backends)
is read from them when Prometheus asks, through `Gauges`.

What is counted with every request is a number in a dict until somebody asks: the client's own counters take a lock and
a walk through their buckets each time, which was a third of what a line of the ledger cost.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_EDGES = [*(repr(float(edge)) for edge in SECONDS), "+Inf"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value another part keeps for itself; `is_total` marks one that only grows."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    is_total: bool = False


class Count:
    """A counter by its labels, and a collector of it. Belongs to one event loop."""

    def __init__(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> None:
        self._name = name
        self._help = help_
        self._labels = labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count one, or so much."""
        self._values[labels] = self._values.get(labels, 0.0) + by

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        yield family


class Durations:
    """A histogram of seconds by one label, and a collector of it. Belongs to one event loop."""

    def __init__(self, name: str, help_: str, label: str) -> None:
        self._name = name
        self._help = help_
        self._label = label
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, label: str, *seconds: float) -> None:
        """Count one, or several."""
        counts = self._counts.get(label)
        if counts is None:
            counts = self._counts[label] = [0] * len(_EDGES)
            self._sums[label] = 0.0
        for each in seconds:
            counts[bisect_left(SECONDS, each)] += 1
        self._sums[label] += sum(seconds)

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._name, self._help, labels=[self._label])

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        for label, counts in list(self._counts.items()):
            buckets = list(zip(_EDGES, map(float, accumulate(counts)), strict=True))
            family.add_metric([label], buckets, self._sums[label])
        yield family


class Metrics:
    """The gateway's metrics on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._count(
            "twicetold_requests", "Answered requests by the tier that served them", "tier", "model", "route"
        )
        self.errors = self._count("twicetold_errors", "Requests that ended in an error", "code", "route")
        self.lookups = self._count("twicetold_lookups", "Cache lookups", "tier", "outcome", "reason")
        self.request_seconds = self._durations("twicetold_request_seconds", "Time to the last byte")
        self.ttft_seconds = self._durations("twicetold_ttft_seconds", "Time to the first content")
        self.tokens = self._count("twicetold_tokens", "Tokens by kind", "kind")
        self.saved_seconds = self._count(
            "twicetold_saved_seconds", "Generation time that stored answers made unnecessary"
        )
        self.cache_failures = self._count(
            "twicetold_cache_failures", "Cache steps that failed and were done without", "step"
        )

    def watch(self, read: Callable[[], Iterable[Sample]]) -> None:
        """Export what `read` returns, asked anew at every scrape."""
        self.registry.register(_Watched(read))

    def render(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

    def _count(self, name: str, help_: str, *labels: str) -> Count:
        count = Count(name, help_, labels)
        self.registry.register(count)
        return count

    def _durations(self, name: str, help_: str) -> Durations:
        durations = Durations(name, help_, "tier")
        self.registry.register(durations)
        return durations


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
