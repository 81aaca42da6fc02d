"""Everything that settings ask for, wired in the order a request meets it."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gateway.curation.feedback import Feedback
from gateway.curation.invalidate import Invalidation
from gateway.curation.transfer import Transfer
from gateway.engines import Engines
from gateway.identity.secret import holds_plain, load_secret
from gateway.ledger import Ledger
from gateway.live.prices import FILE as PRICES_FILE
from gateway.live.prices import Prices
from gateway.live.recent import Recent
from gateway.metrics import Metrics
from gateway.normalise.request import Normaliser
from gateway.normalise.route import route_of
from gateway.pipeline import Pipeline
from gateway.prefixes.watch import PrefixWatch
from gateway.redaction import redactor_of
from gateway.served import ServedMemory
from gateway.services.answers import answers_of
from gateway.services.backends import local_engine
from gateway.services.callers import issuer_of, keys_of
from gateway.services.commons import commons_of
from gateway.services.edge import edge_of
from gateway.services.embedded import embeddings_of
from gateway.services.erasing import erasure_of, erasures_between, retention_of
from gateway.services.express import express_of
from gateway.services.following import following_of
from gateway.services.observing import observing_of
from gateway.services.quota import policies_of, quota_of
from gateway.services.routing import router_of
from gateway.services.rules import rules_of
from gateway.services.running import Services
from gateway.services.seal import seal_of
from gateway.services.semantic import semantic_tier
from gateway.services.shared import shared_of
from gateway.settings import Settings

if TYPE_CHECKING:
    from embeddings.base import Embedder

MIB = 2**20


def build(settings: Settings, load: "Callable[[], Embedder] | None" = None) -> Services:
    """Wire everything `settings` asks for; nothing is opened yet. `load` gives another embedder than they name."""
    seal = seal_of(settings)
    is_plain = not seal.name or (not settings.secret and holds_plain(settings.data_dir))  # there was no seal before
    secret = load_secret(settings.data_dir, settings.secret, seal)
    metrics = Metrics()
    ledger = Ledger(metrics)
    cache = settings.cache
    shared = shared_of(settings, secret, ledger, seal)
    answers = answers_of(settings, secret, None if shared is None else shared.store, seal, takes_old=is_plain)
    make = partial(local_engine, settings, secret)
    local = [(model, make(model, len(settings.local_models))) for model in settings.local_models]
    router = router_of(settings, [engine for _, engine in local])
    engines = Engines(router, make, local)
    is_semantic = cache.enabled and cache.semantic
    semantic = semantic_tier(settings, secret, answers, router, engines, shared, seal, load) if is_semantic else None
    rules = rules_of(settings, has_semantic=semantic is not None)
    normaliser = Normaliser([route_of(one, f"normalise[{at}]") for at, one in enumerate(settings.normalise)])
    prefixes = PrefixWatch(settings.prefixes.mb * MIB, keeps_words=settings.prefixes.words)
    edge = edge_of(settings.edge)
    commons = commons_of(settings, secret, answers, shared, ledger)
    redactor = redactor_of(settings.redact.patterns, settings.redact.hook)
    pipeline = Pipeline(
        secret=secret,
        router=router,
        answers=answers,
        semantic=semantic,
        rules=rules,
        ledger=ledger,
        normaliser=normaliser,
        prefixes=prefixes,
        sharing=None if shared is None else shared.flights,
        commons=commons,
        check_memory=edge.memory.check_generation,
        redactor=redactor,
        flush_s=settings.edge.flush_s,
    )
    following = following_of(shared, answers, semantic, rules, ledger)
    embeddings = embeddings_of(settings, secret, router, rules, ledger, semantic, seal, redactor)
    edge.memory.sheds = (answers.shed, embeddings.memory.shed)
    prices = Prices(settings.data_dir / PRICES_FILE, () if embeddings.own is None else embeddings.own.names)
    prices.open()
    recent = Recent(prices)
    ledger.listen(recent.hear, recent.hear_hits)
    ask_others = following.echo.ask if following is not None else None
    invalidation = Invalidation(answers, semantic, ledger, ask_others, embeddings)
    served = ServedMemory(elsewhere=None if shared is None else shared.responses)
    feedback = Feedback(answers, invalidation, served, semantic, ledger, commons, redactor)
    keys = keys_of(settings, secret, shared)
    quota = quota_of(settings, prices, ledger, shared)
    erasures = erasures_between(settings, shared, ledger)
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
        shared=shared,
        following=following,
        prefixes=prefixes,
        embeddings=embeddings,
        recent=recent,
        keys=keys,
        transfer=Transfer(answers, semantic, rules, ledger, secret),
        policies=policies_of(settings, shared),
        quota=quota,
        commons=commons,
        edge=edge,
        erasures=erasures,
        retention=retention_of(
            settings,
            answers,
            invalidation,
            embeddings=embeddings,
            engines=engines,
            ledger=ledger,
            recent=recent,
            semantic=semantic,
        ),
        erasure=erasure_of(
            settings,
            secret,
            answers,
            invalidation,
            embeddings=embeddings,
            engines=engines,
            keys=keys,
            served=served,
            recent=recent,
            prefixes=prefixes,
            semantic=semantic,
            commons=commons,
            shared=shared,
            elsewhere=erasures,
            rules=rules,
            quota=quota,
        ),
    )
    if semantic is not None:
        from gateway.semantic.thresholds import Thresholds

        services.thresholds = Thresholds(semantic, rules)
    services.issuer = issuer_of(settings, secret)
    if services.issuer is not None:
        metrics.watch(services.issuer.samples)
    services.observing = observing_of(settings, ledger, metrics)
    services.express = express_of(services)
    metrics.watch(edge.samples)
    metrics.watch(services.samples)
    metrics.watch(services.quota.samples)
    if shared is not None:
        metrics.watch(shared.flights.samples)
    metrics.watch(normaliser.samples)
    metrics.watch(prefixes.samples)
    return services
