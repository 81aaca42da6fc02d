"""The composition root: settings in, wired objects out. The only file that names concrete classes.

Everything is opened and closed by one exit stack, in the order a request meets it, backwards. Slow parts (weights,
index) load behind the open door: `readiness` says how far they are, and requests that do not need them are served.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backends.base import Backend
from backends.http import Timeouts
from backends.openai import OpenAIBackend
from backends.router import Router
from gateway.answers.base import CacheError, Figures
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.engines import Engines, LocalEngine, Unavailable, added
from gateway.feedback import Feedback
from gateway.invalidate import Invalidation
from gateway.ledger import Ledger, snapshot
from gateway.metrics import Metrics, Sample
from gateway.outcome import TIERS
from gateway.pipeline import Pipeline
from gateway.policy import History, Mode, RouteRules, Rules
from gateway.routes.health import Readiness
from gateway.samples import answer_samples, draft_samples, engine_samples, kv_samples
from gateway.scope import Scope, tenant_of
from gateway.secret import load_secret
from gateway.served import ServedMemory
from gateway.settings import DEMO, CacheSettings, ModelSettings, RouteSettings, Settings, served_name

if TYPE_CHECKING:
    from embeddings.base import Embedder
    from gateway.semantic.standalone.base import Rewriter
    from gateway.semantic.thresholds import Thresholds
    from gateway.semantic.tier import Semantic

log = logging.getLogger(__name__)

MIB = 2**20
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
    thresholds: "Thresholds | None" = None
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
        return Readiness(is_ready, {**parts, **await self.engines.parts(), "semantic": self._semantic_part})

    @property
    def _semantic_part(self) -> str:
        if self.semantic is not None and self.semantic_state == "loading":
            return f"loading: {self.semantic.opening}"
        if self.semantic is not None and self.semantic_state == "ready" and self.semantic.num_slow:
            return f"ready, but the lists of {self.semantic.num_slow} large partitions are being made"
        return self.semantic_state

    async def stats(self) -> dict[str, Any]:
        """What `twicetold stats` and the dashboard show."""
        state = await self.readiness()
        with self.ledger.best_effort("store_size"):
            self.num_entries = await self.answers.size()
        engines = self.engines.stats()
        return {
            **snapshot(self.ledger.totals),
            "entries": self.num_entries,
            "vectors": self.semantic.num_vectors if self.semantic is not None else 0,
            "ready": state.is_ready,
            "parts": state.parts,
            "semantic": await self._semantic_figures(),
            "engine": added(engines.values()) if engines else None,
            "engines": engines,
        }

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
        if engines := self.engines.stats():
            stats = added(engines.values())
            yield from kv_samples(stats)
            yield from engine_samples(stats)
            yield from draft_samples(stats)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold every part open; on leaving, finish what is owed and close."""
        async with AsyncExitStack() as stack:
            await self._open_answers()
            stack.push_async_callback(self.answers.close)
            if self.semantic is not None:
                stack.push_async_callback(self.semantic.close)
            await self.router.open()
            stack.push_async_callback(self.router.close)
            stack.push_async_callback(self.engines.close)
            stack.push_async_callback(self.pipeline.close)
            for work in (self._keep_semantic(), self._keep_house()):
                stack.push_async_callback(_cancelled, asyncio.create_task(work))
            yield

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
            await asyncio.sleep(LOOK_EVERY_S)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def build(settings: Settings) -> Services:
    """Wire everything `settings` asks for; nothing is opened yet."""
    secret = load_secret(settings.data_dir)
    metrics = Metrics()
    ledger = Ledger(metrics)
    cache = settings.cache
    answers = TieredAnswers(
        MemoryAnswers(
            cache.memory_mb * MIB,
            tenant_bytes=_share(cache, cache.memory_mb),
            policy=cache.eviction,
            seed=secrets.randbits(64),
        ),
        SqliteAnswers(
            settings.data_dir / "answers.db",
            budget_bytes=cache.disk_mb * MIB,
            tenant_bytes=_share(cache, cache.disk_mb),
            policy=cache.eviction,
            seed=secrets.randbits(64),
        ),
    )
    make = partial(_local, settings, secret)
    local = [(model, make(model, len(settings.local_models))) for model in settings.local_models]
    upstream = _upstream(settings) if settings.upstream else None
    backends: list[Backend] = [engine for _, engine in local]
    router = Router(backends, default=upstream)
    engines = Engines(router, make, local)
    is_semantic = cache.enabled and cache.semantic
    semantic = _semantic(settings, secret, answers, router, engines) if is_semantic else None
    rules = _rules(settings, has_semantic=semantic is not None)
    pipeline = Pipeline(secret=secret, router=router, answers=answers, semantic=semantic, rules=rules, ledger=ledger)
    served, invalidation = ServedMemory(), Invalidation(answers, semantic, ledger)
    feedback = Feedback(answers, invalidation, served, semantic, ledger)
    services = Services(
        settings,
        secret,
        metrics,
        ledger,
        answers,
        semantic,
        router,
        engines,
        pipeline,
        served,
        invalidation,
        feedback,
    )
    if semantic is not None:
        from gateway.semantic.thresholds import Thresholds

        services.thresholds = Thresholds(semantic, rules)
    metrics.watch(services.samples)
    return services


def _rules(settings: Settings, *, has_semantic: bool) -> Rules:
    """What the operator allows, route by route."""
    cache = settings.cache
    every = Rules(
        exact=cache.enabled,
        semantic=has_semantic,
        mode=cast("Mode", cache.semantic_mode),
        history=cast("History", cache.semantic_history),
        max_wrong_hit_rate=cache.max_wrong_hit_rate,
        shadow_rate=cache.shadow_rate,
        min_similarity=cache.min_similarity,
        max_temperature=cache.max_temperature,
        default_ttl_s=cache.default_ttl_s,
        max_ttl_s=cache.max_ttl_s,
        sliding_ttl=cache.sliding_ttl,
    )
    return replace(every, routes=tuple(_route_rules(route, every) for route in cache.routes))


def _route_rules(route: RouteSettings, every: Rules) -> RouteRules:
    names = ("max_wrong_hit_rate", "shadow_rate", "min_similarity")
    own = {name: value for name in names if (value := getattr(route, name)) is not None}
    mode = cast("Mode", route.semantic_mode or every.mode)
    history = cast("History", route.semantic_history or every.history)
    rules = replace(every, route=route.name, mode=mode, history=history, **own)
    return RouteRules(route.model, route.namespace, route.tenant, rules)


def _semantic(
    settings: Settings, secret: bytes, answers: TieredAnswers, router: Router, engines: Engines
) -> "Semantic | None":
    """The semantic tier, or None where its packages are not installed: the gateway is an exact cache then."""
    try:
        from embeddings.batcher import EmbeddingBatcher
        from embeddings.index import VectorIndex
        from embeddings.verifier.cross_encoder import SecondLook
        from gateway.semantic.judge import Judge
        from gateway.semantic.labels import LabelStore
        from gateway.semantic.shelf import Shelf
        from gateway.semantic.tier import Choices, Semantic
        from gateway.semantic.verifiers import Verifiers
    except ImportError as error:
        log.warning("no semantic tier: %s is not installed (pip install 'twicetold-server[semantic]')", error.name)
        return None
    cache = settings.cache

    judge = None
    if cache.judge:
        is_local = cache.judge == "local"
        model = served_name(settings.local_model) if is_local else cache.judge
        is_idle = partial(_are_idle, engines) if is_local else (lambda: True)
        judge = Judge(router, model, per_hour=cache.judge_per_hour, is_idle=is_idle)
    return Semantic(
        answers,
        EmbeddingBatcher(partial(load_embedder, cache), timeout_s=cache.embedder_timeout_s),
        partial(
            VectorIndex,
            budget_bytes=cache.index_mb * MIB or None,
            snapshots=settings.data_dir / "index",
        ),
        LabelStore(settings.data_dir / "labels.db", per_tenant=cache.labels_per_tenant),
        secret,
        Choices(
            promotes=cache.promotion,
            timeout_s=cache.embedder_timeout_s,
            wordings=settings.data_dir / "index" / "bare.forms",
        ),
        Verifiers(Shelf(settings.data_dir / "verifiers"), SecondLook(cache.second_look) if cache.second_look else None),
        judge=judge,
        rewriter=rewriter_of(settings, router),
    )


def rewriter_of(settings: Settings, router: Router) -> "Rewriter | None":
    """What makes last turns stand alone, where somebody's may be answered for another history."""
    from gateway.semantic.standalone.model import ByModel
    from gateway.semantic.standalone.rules import ByRules

    cache = settings.cache
    if "loose" not in (cache.semantic_history, *(route.semantic_history for route in cache.routes)):
        return None
    if cache.rewriter == "rules":
        return ByRules()
    model = served_name(settings.local_model) if cache.rewriter == "local" else cache.rewriter
    return ByModel(router, model, timeout_s=cache.rewriter_timeout_s)


def load_embedder(cache: CacheSettings) -> "Embedder":
    """The embedder the settings name. Takes seconds; raises `EmbedderError`."""
    from embeddings import local

    return local.load_embedder(
        cache.embedder or None, threads=cache.embedder_threads, precision=cache.embedder_precision
    )


def _are_idle(engines: Engines) -> bool:
    return not any(stats.get("running", 0) + stats.get("waiting", 0) for stats in engines.stats().values())


def _share(cache: CacheSettings, of_mb: int) -> int | None:
    """What one tenant may keep of a budget, in bytes: in memory the same part as on disk."""
    return None if not cache.tenant_mb else int(of_mb * MIB * min(1.0, cache.tenant_mb / cache.disk_mb))


def _local(settings: Settings, secret: bytes, model: ModelSettings, num_engines: int) -> LocalEngine:
    """A local engine over a checkpoint that is there, downloaded if need be. Raises `Unavailable`."""
    try:
        from backends.local.backend import LocalBackend
        from backends.local.decoder.checkpoint import find, read
        from backends.local.decoder.config import CheckpointError
        from backends.local.demo import checkpoint_path
        from backends.local.settings import LocalSettings
    except ImportError as error:
        raise Unavailable(
            f"the local engine needs {error.name}: pip install 'twicetold-server[local]', or name an --upstream"
        ) from error
    engine, anonymous = model.engine, tenant_of(secret, None)
    try:
        # what cannot be served is told now, in one line, not from inside the started server
        checkpoint = read(checkpoint_path() if model.source == DEMO else find(model.source))
    except CheckpointError as error:
        raise Unavailable(str(error)) from error
    limits = LocalSettings(
        secret=secret,
        kv_budget_bytes=engine.kv_mb * MIB,
        max_running=engine.max_running,
        max_waiting=engine.max_waiting,
        threads=engine.threads or None,
        dtype=engine.dtype,
        weights="" if engine.weights == "auto" else engine.weights,
        device=engine.device,
        exact=engine.exact,
        drafts=engine.drafts,
        idle_work=engine.idle_work,
        warm_prompts=tuple(map(_prompt_text, engine.warm_prompts)),
        warm_salt=Scope(anonymous, model.name).kv_salt(secret),
        warm_owner=anonymous,
        max_new_tokens=engine.max_new_tokens or None,
        context_tokens=engine.context_tokens or None,
        ready_wait_s=engine.ready_wait_s,
        load_s=engine.load_s,
        hang_s=engine.hang_s,
        memory_bytes=engine.memory_mb * MIB,
        num_engines=num_engines,
        kv_dir=settings.data_dir / "kv",
        kv_disk_bytes=engine.kv_disk_mb * MIB,
        kv_redis=engine.kv_redis,
        kv_codec=engine.kv_codec,
        kv_policy=engine.kv_policy,
    )
    is_first = model.name == served_name(settings.local_model)  # names are unique
    name = "local" if is_first else f"local:{model.name}"
    return LocalBackend(checkpoint, served_name=model.name, settings=limits, name=name)


def _prompt_text(prompt: str) -> str:
    """A text, or what the file named behind an @ holds. Raises `Unavailable`."""
    if not prompt.startswith("@"):
        return prompt
    try:
        return Path(prompt[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"engine.warm_prompts: {prompt[1:]} cannot be read: {error}") from error


def _upstream(settings: Settings) -> OpenAIBackend:
    limits = settings.timeouts
    return OpenAIBackend(
        "upstream",
        settings.upstream,
        api_key=settings.upstream_key or None,
        timeouts=Timeouts(limits.connect_s, limits.first_token_s, limits.idle_s, limits.total_s),
        model_names=settings.upstream_models,
        predicts=settings.upstream_prediction,
    )
