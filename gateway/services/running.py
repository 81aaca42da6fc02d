"""The wired gateway: opened and closed by one exit stack, in the order a request meets its parts, backwards.

Slow parts (weights, index) load behind the open door: `readiness` says how far they are, and requests that do not need
them are served.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends.routing.router import Router
from gateway.answers.base import CacheError, Figures
from gateway.answers.tiered import TieredAnswers
from gateway.callers.keys import Keys
from gateway.commons.commons import Commons
from gateway.curation.erase import Erasure
from gateway.curation.feedback import Feedback
from gateway.curation.invalidate import Invalidation
from gateway.curation.retention import Retention
from gateway.curation.transfer import Transfer
from gateway.edge.edge import Edge
from gateway.embedded.service import Embeddings
from gateway.engines import Engines, added
from gateway.express.express import Express
from gateway.ledger import Ledger, snapshot
from gateway.live.recent import Recent
from gateway.metrics import Metrics, Sample
from gateway.outcome import TIERS
from gateway.pipeline import Pipeline
from gateway.prefixes.watch import PrefixWatch
from gateway.quota.gate import Quota
from gateway.quota.policies import Policies
from gateway.routes.health import Readiness
from gateway.served import ServedMemory
from gateway.services.embedded import embedding_samples
from gateway.services.following import Following
from gateway.services.observing import Observing
from gateway.services.shared import Shared
from gateway.settings import Settings
from gateway.telemetry.samples import (
    answer_samples,
    backend_samples,
    draft_samples,
    engine_samples,
    feed_samples,
    kv_samples,
    shared_samples,
)

if TYPE_CHECKING:
    from gateway.callers.issuer import Issuer
    from gateway.semantic.thresholds import Thresholds
    from gateway.semantic.tier import Semantic
    from gateway.shared.erasures import SharedErasures

log = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0


@dataclass(slots=True)
class Services:
    """The wired gateway."""

    settings: Settings
    secret: bytes
    metrics: Metrics
    ledger: Ledger
    answers: TieredAnswers
    semantic: "Semantic | None"
    router: Router
    engines: Engines
    pipeline: Pipeline
    served: ServedMemory
    invalidation: Invalidation
    feedback: Feedback
    prefixes: PrefixWatch
    embeddings: Embeddings
    recent: Recent
    keys: Keys
    transfer: Transfer
    policies: Policies
    quota: Quota
    erasure: Erasure
    retention: Retention
    thresholds: "Thresholds | None" = None
    commons: Commons | None = None
    issuer: "Issuer | None" = None  # whose tokens are taken
    erasures: "SharedErasures | None" = None  # of other gateways
    shared: Shared | None = None
    following: Following | None = None
    observing: Observing = field(default_factory=Observing)
    edge: Edge = field(default_factory=Edge)
    express: Express | None = None
    semantic_state: str = "off"
    has_store: bool = False
    num_entries: int = 0
    store_figures: tuple[Figures, ...] = ()
    backends_up: dict[str, bool] = field(default_factory=dict)  # by the last look

    async def readiness(self) -> Readiness:
        """Ready when at least one backend is: answers are served from then on, the rest follows."""
        healths = await self.router.health()
        self.backends_up = {name: health.is_ready for name, health in healths.items()}
        parts = {name: "ready" if health.is_ready else health.detail or "not ready" for name, health in healths.items()}
        is_ready = any(health.is_ready for health in healths.values())
        if self.shared is not None:
            parts["redis"] = self.shared.store.state
        if self.following is not None:
            parts["feed"] = self.following.follower.state
        for alias, models in self.router.unserved().items():
            parts[f"alias {alias}"] = f"nobody serves {', '.join(models)}"
        return Readiness(is_ready, {**parts, **await self.engines.parts(), "semantic": self._semantic_part})

    @property
    def _semantic_part(self) -> str:
        if self.semantic is not None and self.semantic_state == "loading":
            return f"loading: {self.semantic.opening}"
        if self.semantic is not None and self.semantic_state == "ready" and self.semantic.lacking:
            return f"ready, but not every stored question was read, which is tried again: {self.semantic.lacking}"
        if self.semantic is not None and self.semantic_state == "ready" and self.semantic.num_slow:
            return f"ready, but the lists of {self.semantic.num_slow} large partitions are being made"
        return self.semantic_state

    @property
    def is_loading(self) -> bool:
        """Whether something slow is still to come behind the open door."""
        return self.semantic is not None and (self.semantic_state == "loading" or self.semantic.num_slow > 0)

    async def stats(self) -> dict[str, Any]:
        """What `twicetold stats` and the dashboard show."""
        state = await self.readiness()
        with self.ledger.best_effort("store_size"):
            self.num_entries = await self.answers.size()
        engines = self.engines.stats()
        return {
            **snapshot(self.ledger.totals),
            **self.recent.figures(),
            "entries": self.num_entries,
            "vectors": self.semantic.num_vectors if self.semantic is not None else 0,
            "ready": state.is_ready,
            "parts": state.parts,
            "semantic": await self._semantic_figures(),
            "engine": added(engines.values()) if engines else None,
            "engines": engines,
            "backends": self.router.report()["backends"],
            "redis": None if self.shared is None else self.shared.store.report(),
            "commons": await self._commons_figures(),
        }

    async def _commons_figures(self) -> dict[str, Any] | None:
        """What is known of what tenants share; None where they share nothing."""
        if self.commons is None:
            return None
        with self.ledger.best_effort("commons_size"):
            await self.commons.look()
        return {"witnesses": self.commons.num_witnesses}

    async def _semantic_figures(self) -> dict[str, Any] | None:
        if self.semantic is None:
            return None
        from gateway.semantic.figures import figures

        with self.ledger.best_effort("lanes"):
            await self.semantic.lanes.refresh()
        return figures(self.semantic)

    def samples(self) -> Iterable[Sample]:
        """What parts count for themselves, for Prometheus."""
        for tier in TIERS:
            ratio = self.ledger.totals.hit_ratio(tier)
            yield Sample("twicetold_hit_ratio", "Share of requests a tier served", ratio, (("tier", tier),))
        yield Sample("twicetold_store_entries", "Stored answers", self.num_entries)
        yield from answer_samples(self.store_figures)
        vectors = self.semantic.num_vectors if self.semantic is not None else 0
        yield Sample("twicetold_index_entries", "Vectors searched", vectors)
        if self.semantic is not None:
            from gateway.semantic.figures import samples

            yield from samples(self.semantic)
        for name, is_up in self.backends_up.items():
            yield Sample("twicetold_backend_up", "Whether a backend is ready", is_up, (("backend", name),))
        yield from backend_samples(self.router.report())
        yield from embedding_samples(self.embeddings)
        if self.shared is not None:
            yield from shared_samples(self.shared.store.report(), self.shared.responses.num_dropped)
        if self.following is not None:
            yield from feed_samples(self.following.follower)
        if engines := self.engines.stats():
            stats = added(engines.values())
            yield from kv_samples(stats)
            yield from engine_samples(stats)
            yield from draft_samples(stats)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold every part open; on leaving, finish what is owed and close."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self.observing.close)
            if self.shared is not None:
                stack.push_async_callback(self.shared.link.close)
            await self.keys.open()
            await self.policies.open()
            await self.quota.open()
            stack.push_async_callback(self.quota.close)
            stack.push_async_callback(self.keys.close)
            if self.issuer is not None:
                stack.push_async_callback(self.issuer.close)
            await self._open_answers()
            stack.push_async_callback(self.answers.close)
            if self.commons is not None:
                stack.push_async_callback(self.commons.close)
                with self.ledger.best_effort("commons_open"):
                    await self.commons.open()
            if self.following is not None:
                with self.ledger.best_effort("feed"):
                    await self.following.follower.open()  # before anything is read from the store
            if self.semantic is not None:
                stack.push_async_callback(self.semantic.close)
            await self.embeddings.open()
            stack.push_async_callback(self.embeddings.close)
            await self.router.open()
            stack.push_async_callback(self.router.close)
            stack.push_async_callback(self.engines.close)
            if self.shared is not None:
                await self.shared.open()
                stack.push_async_callback(self.shared.close)
            stack.push_async_callback(self.pipeline.close)
            if self.express is not None:
                stack.callback(self.express.close)
            stack.push_async_callback(self.transfer.close)
            for work in (
                *self._follow(),
                self.keys.follow(),
                self.policies.follow(),
                self.quota.follow(),
                self.quota.tell(),
                self._keep_semantic(),
                self.retention.run(),
                self._keep_house(),
                self.edge.memory.run(),
            ):
                stack.push_async_callback(_cancelled, asyncio.create_task(work))
            yield

    def _follow(self) -> Iterator[Coroutine[Any, Any, None]]:
        if self.following is not None:
            yield self.following.follower.run()
        if self.erasures is not None:
            yield self.erasures.follow(self.erasure.run_here)
        if self.issuer is not None:
            yield self.issuer.follow()

    async def _open_answers(self) -> None:
        """Open the store; what fails now is tried again by the house-keeper, and memory serves meanwhile."""
        with self.ledger.best_effort("store_open"):
            await self.answers.open()
            self.has_store = True

    async def _keep_semantic(self) -> None:
        """Load the semantic tier, then teach it what was stored without it."""
        if self.semantic is None:
            return
        self.semantic_state = "loading"
        try:
            await self.semantic.open()
        except CacheError as error:
            self.semantic_state = str(error)
            log.warning("no semantic tier: %s", error)
            return
        self.semantic_state = "ready"
        while True:
            self.semantic.drop(self.answers.take_gone())
            with self.ledger.best_effort("catch_up"):
                await self.semantic.catch_up()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _keep_house(self) -> None:
        """Keep the slow gauges fresh."""
        while True:
            if not self.has_store:
                await self._open_answers()
            with self.ledger.best_effort("store_size"):
                self.store_figures = await self.answers.figures()
                self.num_entries = self.store_figures[-1].entries
            await self.readiness()
            if self.express is not None:
                self.express.sweep()
            await asyncio.sleep(LOOK_EVERY_S)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
