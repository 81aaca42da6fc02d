"""Rows on their way from colder tiers, while the request they are for still waits."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor

from kvtier.stats import MissReason
from kvtier.tiers.base import Restored, Tier, TierError, Wanted
from kvtier.tiers.gate import Gate, RecomputeCost
from kvtier.tiers.writer import Writer

DISK_PATIENCE_S = 5.0  # before anything is known of what computing costs
REMOTE_PATIENCE_S = 0.25


class Source:
    """A tier with its writer and with what is measured of it."""

    def __init__(self, tier: Tier, cost: RecomputeCost, queue_bytes: int) -> None:
        self.tier = tier
        self.gate = Gate(cost)
        self.writer = Writer(tier, queue_bytes)
        self._lock = threading.Lock()
        self._counts = {"hits": 0, "hit_tokens": 0, "loads": 0, "load_bytes": 0, "late": 0, "failures": 0}

    def count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            counts = dict(self._counts)
        counts["failures"] += self.writer.num_failed
        counts["drops"] = self.writer.num_dropped
        return {**counts, **self.gate.snapshot(), **self.tier.snapshot()}


class Prefetch:
    """Loads in flight for one prompt. `KVCache.match` takes what has arrived; late rows are dropped."""

    def __init__(self, wanted: Wanted | None, sources: Sequence[Source], cost: RecomputeCost, epoch: int = 0) -> None:
        self.wanted = wanted
        self.epoch = epoch
        self.reason: MissReason | None = None  # why not more was loaded, when a tier is the reason
        self._sources = sources
        self._cost = cost
        self._arrived: list[Restored] = []
        self._done = threading.Event()
        self._is_cancelled = False
        self._late_at = float("inf")
        self._patience_s = 0.0
        self._waits_for: Source | None = None
        if wanted is None or not sources:
            self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether nothing more is worth waiting for: all has arrived, or computing would have been faster by now."""
        if not self._done.is_set() and time.monotonic() > self._late_at:
            self._give_up()
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is done; returns whether it is."""
        until = time.monotonic() + timeout_s
        while not self.is_done:
            left = min(until, self._late_at) - time.monotonic()
            if time.monotonic() >= until:
                return False
            self._done.wait(max(0.0, left) + 0.0005)
        return True

    def cancel(self) -> None:
        """Stop loading; what has arrived may still be used."""
        self._is_cancelled = True
        self._done.set()

    def arrived(self) -> list[Restored]:
        """What is here so far, in the order of the prompt, without holes."""
        return list(self._arrived)

    def start(self, executor: Executor) -> None:
        """Begin on a thread of `executor`."""
        if self._done.is_set():
            return
        self._expect(self._sources[0])
        try:
            executor.submit(self._run)
        except RuntimeError:  # the cache is being closed
            self._done.set()

    def _run(self) -> None:
        try:
            assert self.wanted is not None
            wanted = self.wanted
            for source in self._sources:
                self._expect(source)
                reached = self._take(source, wanted)
                if self._is_cancelled or self.reason == "breakeven" or reached >= wanted.stop:
                    break
                wanted = Wanted(wanted.root, wanted.keys, wanted.packed, reached, wanted.stop, wanted.block_tokens)
        finally:
            self._done.set()

    def _take(self, source: Source, wanted: Wanted) -> int:
        """Load from one tier what is worth it; returns up to which token rows are here now."""
        reached = wanted.start
        if source.writer.is_clearing:
            return reached
        try:
            began = time.perf_counter()
            run = source.tier.find(wanted)
            latency = time.perf_counter() - began
            if not run:
                return reached
            verdict = source.gate.choose(run, wanted.start, wanted.stop)
            if verdict.is_refused:
                self.reason = "breakeven"
            run, num_bytes, began = run[: verdict.num_segments], 0, time.perf_counter()
            for found, restored in zip(run, source.tier.load(wanted, run), strict=False):  # a load may end early
                if self._is_cancelled:
                    return reached
                self._arrived.append(restored)
                reached = restored.stop
                self._late_at = time.monotonic() + self._patience_s
                num_bytes += found.num_bytes
                source.count(loads=1, load_bytes=found.num_bytes)
            if num_bytes:
                source.gate.observe(latency, num_bytes, time.perf_counter() - began)
            if run and reached < run[-1].stop:
                self.reason = "tier_error"
        except TierError:
            source.count(failures=1)
            self.reason = "tier_error"
        return reached

    def _expect(self, source: Source) -> None:
        """Set the time after which waiting for a tier is worse than computing: so long after each sign of life."""
        assert self.wanted is not None
        recompute = self._cost.seconds(self.wanted.start, self.wanted.stop)
        if source.tier.is_remote:
            patience = min(REMOTE_PATIENCE_S, recompute / 2 if recompute is not None else REMOTE_PATIENCE_S)
        else:
            patience = max(DISK_PATIENCE_S / 50, recompute) if recompute is not None else DISK_PATIENCE_S
        self._waits_for, self._patience_s = source, patience
        self._late_at = time.monotonic() + patience

    def _give_up(self) -> None:
        if self._waits_for is not None:
            self._waits_for.count(late=1)
        self.reason = "tier_error"
        self.cancel()
