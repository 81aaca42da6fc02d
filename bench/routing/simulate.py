"""Gateways that choose among replicas, with the code that serves, and what comes of it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from backends.routing.base import Choice, Chooser
from backends.routing.counters import Counters, Sent
from bench.figures import percentile
from bench.routing.engine import Engine, Event, Hardware, Job
from bench.routing.workloads import Ask, Workload

LEAST_PAUSE_S = 0.9  # of sessions; nothing that ends can make a request sooner than this


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands around the workload."""

    replicas: int = 8
    gateways: int = 1
    hardware: Hardware = field(default_factory=Hardware)
    reports_cached: bool = True
    restarts: tuple[tuple[float, int, bool], ...] = ()  # when, which, and whether the gateways are told
    joins_at: float | None = None  # when the last replica is added


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a workload under a policy."""

    asks: tuple[Ask, ...]  # in order of arrival
    cached_tokens: tuple[int, ...]
    ttft_s: tuple[float, ...]
    arrived_s: tuple[float, ...]
    busy_s: tuple[float, ...]  # by replica
    chosen: tuple[int, ...]

    @property
    def hit_share(self) -> float:
        return sum(self.cached_tokens) / sum(ask.prompt.num_tokens for ask in self.asks)

    @property
    def spread(self) -> float:
        return max(self.busy_s) / (sum(self.busy_s) / len(self.busy_s))

    def ttft(self, percent: float) -> float:
        return percentile(self.ttft_s, percent)


def simulate(workload: Workload, make: Callable[[Random], Chooser], scene: Scene, seed: int = 0) -> Outcome:
    """Run a workload to its end."""
    return _Run(workload, make, scene, seed).run()


class _Run:
    def __init__(self, workload: Workload, make: Callable[[Random], Chooser], scene: Scene, seed: int) -> None:
        self.workload, self.scene = workload, scene
        self.random = Random(seed)
        self.choosers = [make(Random(f"{seed} {number}")) for number in range(scene.gateways)]
        self.counters = [Counters() for _ in self.choosers]
        self.names = [f"replica-{number}" for number in range(scene.replicas)]
        self.engines = [Engine(scene.hardware, workload.block_tokens) for _ in self.names]
        self.coming = [(s.begins, number, 0) for number, s in enumerate(workload.sessions)]  # sorted, so a heap
        self.events: list[Event] = []
        self.open: dict[int, tuple[ExitStack, Sent, Choice, int, int, int]] = {}
        self.jobs: list[Job] = []
        self.asks: list[Ask] = []
        self.chosen: list[int] = []
        self.restarts = sorted(scene.restarts, reverse=True)
        self.now = 0.0

    def run(self) -> Outcome:
        while self.coming or self.open:
            soon = self.coming[0][0] if self.coming else self.now + LEAST_PAUSE_S
            self._advance(max(self.now, min(soon, self.now + LEAST_PAUSE_S)))
            while self.coming and self.coming[0][0] <= self.now:
                _, session, turn = heappop(self.coming)
                self._ask(session, turn)
        return Outcome(
            tuple(self.asks),
            tuple(job.cached_tokens for job in self.jobs),
            tuple(job.first - job.arrived for job in self.jobs),
            tuple(job.arrived for job in self.jobs),
            tuple(engine.busy_s for engine in self.engines),
            tuple(self.chosen),
        )

    def _advance(self, until: float) -> None:
        while self.restarts and self.restarts[-1][0] <= until:
            _, which, is_told = self.restarts.pop()
            self.engines[which].restart()
            for chooser in self.choosers if is_told else ():
                chooser.reset(self.names[which])
        fresh: list[Event] = []
        for engine in self.engines:
            if engine.now < until:
                engine.advance(until, fresh)
        for event in fresh:
            heappush(self.events, event)
        self.now = until
        while self.events and self.events[0][0] <= until:
            when, _, is_end, job = heappop(self.events)
            if is_end:
                self._ended(when, job)
            else:
                self.open[job.number][1].answering()

    def _ask(self, session: int, turn: int) -> None:
        ask = self.workload.sessions[session].turns[turn]
        gateway = self.random.randrange(self.scene.gateways)
        counters = self.counters[gateway]
        is_joined = self.scene.joins_at is None or self.now >= self.scene.joins_at
        names = self.names if is_joined else self.names[:-1]
        choice = self.choosers[gateway].choose(ask.prompt, counters.loads(names))
        stack = ExitStack()
        sent = stack.enter_context(
            counters.sent(choice.replica, max(1, ask.prompt.num_tokens - choice.predicted_tokens))
        )
        which = self.names.index(choice.replica)
        job = Job(len(self.jobs), self.now, ask.prompt.chunks, ask.prompt.num_tokens, ask.num_answer, ask.answer_blocks)
        self.engines[which].waiting.append(job)
        self.open[job.number] = stack, sent, choice, gateway, session, turn
        self.jobs.append(job)
        self.asks.append(ask)
        self.chosen.append(which)

    def _ended(self, when: float, job: Job) -> None:
        stack, _, choice, gateway, number, turn = self.open.pop(job.number)
        stack.close()
        ask, session = self.asks[job.number], self.workload.sessions[number]
        cached = job.cached_tokens if self.scene.reports_cached else None
        self.choosers[gateway].heard(choice, ask.prompt, cached, ask.prompt.num_tokens)
        if turn + 1 < len(session.turns):
            heappush(self.coming, (when + session.pauses[turn], number, turn + 1))


def one_cache(asks: Sequence[Ask], block_tokens: int, num_tokens: int | None) -> float:
    """The hit share of one cache that everybody shares, of so many tokens (None: of any size), read in an instant."""
    kept: OrderedDict[int, None] = OrderedDict()
    most = None if num_tokens is None else num_tokens // block_tokens
    hit = 0
    for ask in asks:
        blocks = ask.prompt.chunks
        found = next((place for place, block in enumerate(blocks) if block not in kept), len(blocks))
        hit += min(found * block_tokens, ask.prompt.num_tokens)
        for block in reversed((*blocks, *ask.answer_blocks)):
            kept[block] = None
            kept.move_to_end(block)
        while most is not None and len(kept) > most:
            kept.popitem(last=False)
    return hit / sum(ask.prompt.num_tokens for ask in asks)
