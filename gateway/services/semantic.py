"""The semantic tier, where its packages are installed."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backends.routing.router import Router
from gateway.answers.tiered import TieredAnswers
from gateway.engines import Engines
from gateway.seal import NO_SEAL, Seal
from gateway.services.shared import Shared
from gateway.settings import CacheSettings, Settings, served_name

if TYPE_CHECKING:
    from embeddings.base import Embedder
    from gateway.semantic.standalone.base import Rewriter
    from gateway.semantic.tier import Semantic
    from gateway.shared.vectors import RedisVectors

log = logging.getLogger(__name__)

MIB = 2**20
NICENESS = 10  # of the embedder's thread, so that the event loop goes first where both share a core


def semantic_tier(
    settings: Settings,
    secret: bytes,
    answers: TieredAnswers,
    router: Router,
    engines: Engines,
    shared: Shared | None = None,
    seal: Seal = NO_SEAL,
    load: "Callable[[], Embedder] | None" = None,
) -> "Semantic | None":
    """The semantic tier, or None where its packages are not installed: the gateway is an exact cache then.
    `load` gives another embedder than the settings name."""
    try:
        from embeddings.batcher import EmbeddingBatcher
        from embeddings.index import VectorIndex
        from embeddings.verifier.cross_encoder import SecondLook
        from gateway.semantic.judge import Judge
        from gateway.semantic.kept_readings import KeptReadings
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
        EmbeddingBatcher(
            load or partial(load_embedder, cache, settings.data_dir / "embedders"),
            timeout_s=cache.embedder_timeout_s,
            niceness=NICENESS,
        ),
        partial(
            VectorIndex,
            budget_bytes=cache.index_mb * MIB or None,
            snapshots=settings.data_dir / "index",
            seal=seal if seal.name else None,
        ),
        LabelStore(settings.data_dir / "labels.db", per_tenant=cache.labels_per_tenant, seal=seal),
        secret,
        Choices(
            promotes=cache.promotion,
            timeout_s=cache.embedder_timeout_s,
            wordings=settings.data_dir / "index" / "bare.forms",
        ),
        Verifiers(Shelf(settings.data_dir / "verifiers"), SecondLook(cache.second_look) if cache.second_look else None),
        judge=judge,
        rewriter=rewriter_of(settings, router),
        beyond=_beyond(settings, shared),
        readings=KeptReadings(settings.data_dir, seal),
    )


def _beyond(settings: Settings, shared: Shared | None) -> "RedisVectors | None":
    """Where vectors are searched that memory has no room for."""
    if shared is None or not settings.shared.vectors or not settings.cache.index_mb:
        return None
    from gateway.shared.vectors import RedisVectors

    return RedisVectors(shared.link)


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


def load_embedder(cache: CacheSettings, records: Path | None = None) -> "Embedder":
    """The embedder the settings name. Takes up to seconds; raises `EmbedderError`. In `records` it is kept what the
    reference says of a model, so that it is asked once."""
    from embeddings import local

    return local.load_embedder(
        cache.embedder or None,
        threads=cache.embedder_threads,
        precision=cache.embedder_precision,
        records=records,
    )


def _are_idle(engines: Engines) -> bool:
    return not any(stats.get("running", 0) + stats.get("waiting", 0) for stats in engines.stats().values())
