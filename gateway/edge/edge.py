"""The edge of one server: its bounds, what it counts, and its watch over memory, for whoever has to ask."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from gateway.edge.memory import MemoryWatch, Use, of_container, of_process
from gateway.edge.rules import MIB, EdgeCounts, EdgeRules
from gateway.metrics import Sample
from gateway.settings import EdgeSettings

KEPT_DESCRIPTORS = 256  # for the store, backends, engines and what a library opens


@dataclass(slots=True)
class Edge:
    """One for a server."""

    rules: EdgeRules = field(default_factory=EdgeRules)
    counts: EdgeCounts = field(default_factory=EdgeCounts)
    memory: MemoryWatch = field(default_factory=MemoryWatch)

    def lets_in(self, num_bytes: int) -> bool:
        """Whether a request of so many bytes that is over at once is let in; counted, as in `admission.py`."""
        rules, counts = self.rules, self.counts
        if 0 < rules.requests <= counts.requests or self.memory.is_shut:
            return False
        if 0 < rules.body_bytes < counts.body_bytes + num_bytes:
            return False
        if counts.most_requests <= counts.requests:
            counts.most_requests = counts.requests + 1
        return True

    def samples(self) -> Iterator[Sample]:
        """For Prometheus."""
        counts = self.counts
        yield Sample("twicetold_connections", "Connections of callers", counts.connections)
        yield Sample("twicetold_requests_under_way", "Requests on /v1 that have not ended", counts.requests)
        yield Sample("twicetold_body_bytes", "Bodies of requests under way", counts.body_bytes)
        with suppress(RuntimeError):  # asked from outside of the loop
            yield Sample("twicetold_tasks", "Tasks of the event loop", len(asyncio.all_tasks()))
        use = self.memory.use
        yield Sample("twicetold_memory_share", "Memory used, of what there may be; 0: no limit is known", use.share)
        yield Sample("twicetold_memory_shed", "Times caches let go for memory", self.memory.times_shed, is_total=True)
        for reason, count in counts.refused.items():
            labels = (("reason", reason),)
            yield Sample("twicetold_refused", "Requests and connections with no room", count, labels, is_total=True)
        for reason, count in counts.cut.items():
            labels = (("reason", reason),)
            yield Sample("twicetold_cut", "Connections ended because they were too slow", count, labels, is_total=True)


def reader(memory_mb: int) -> Callable[[], Use | None]:
    """What is watched: this process against a bound of its own, else the container against its."""
    return partial(of_process, memory_mb * MIB) if memory_mb else of_container


def rules_of_edge(settings: EdgeSettings, num_descriptors: int) -> EdgeRules:
    """The bounds, within what the system lets this process open."""
    most = max(16, num_descriptors - KEPT_DESCRIPTORS) if num_descriptors else settings.connections
    return EdgeRules(
        connections=min(settings.connections or most, most),
        requests=settings.requests,
        body_bytes=settings.bodies_mb * MIB,
        head_bytes=settings.head_kb * 2**10,
        head_s=settings.head_s,
        body_s=settings.body_s,
        idle_s=settings.idle_s,
        write_s=settings.write_s,
    )
