"""What erases a tenant or a tag, wired to every place that keeps something of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from gateway.answers.base import CacheError
from gateway.callers.keys import Keys
from gateway.commons.commons import Commons
from gateway.curation.erase import EraseKept, Erasure, Held
from gateway.curation.invalidate import Invalidation
from gateway.curation.retention import Aged, Caps, Retention
from gateway.embedded.service import Embeddings
from gateway.engines import Engines
from gateway.ledger import Ledger
from gateway.live.recent import Recent
from gateway.policy import Rules
from gateway.prefixes.watch import PrefixWatch
from gateway.quota.gate import Quota
from gateway.served import ServedMemory
from gateway.services.backends import kv_redis_of
from gateway.services.seal import seal_keys_of
from gateway.services.shared import Shared
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.answers.tiered import TieredAnswers
    from gateway.semantic.tier import Semantic
    from gateway.shared.erasures import SharedErasures


def erasure_of(
    settings: Settings,
    secret: bytes,
    answers: "TieredAnswers",
    invalidation: Invalidation,
    *,
    embeddings: Embeddings,
    engines: Engines,
    keys: Keys,
    served: ServedMemory,
    recent: Recent,
    prefixes: PrefixWatch,
    semantic: "Semantic | None",
    commons: Commons | None,
    shared: Shared | None,
    elsewhere: "SharedErasures | None",
    rules: Rules,
    quota: Quota,
) -> Erasure:
    return Erasure(
        answers,
        invalidation,
        embeddings,
        engines,
        keys,
        settings.data_dir,
        semantic=semantic,
        commons=commons,
        responses=None if shared is None else shared.responses,
        routes={rules.route, *(route.rules.route for route in rules.routes)},
        held=(
            Held("responses", served.count, served.forget),
            Held("requests", recent.count, recent.forget),
            Held("prompts", prefixes.count, prefixes.forget),
        ),
        erase_kept=_erase_kept(settings, secret),
        elsewhere=elsewhere,
        quota=quota,
    )


def erasures_between(settings: Settings, shared: Shared | None, ledger: Ledger) -> "SharedErasures | None":
    """How gateways on one Redis tell each other."""
    if shared is None:
        return None
    from gateway.shared.erasures import SharedErasures

    return SharedErasures(shared.link, shared.replica, settings.data_dir / "erasures.seen", ledger)


def retention_of(
    settings: Settings,
    answers: "TieredAnswers",
    invalidation: Invalidation,
    *,
    embeddings: Embeddings,
    engines: Engines,
    ledger: Ledger,
    recent: Recent,
    semantic: "Semantic | None",
) -> Retention:
    keeps = settings.retention
    return Retention(
        Caps(keeps.answers_s, keeps.labels_s, keeps.kv_s, keeps.conversations_s, keeps.requests_s),
        answers,
        invalidation,
        embeddings,
        engines,
        ledger,
        settings.data_dir / "kv.cleared",
        semantic=semantic,
        aged=(Aged(keeps.requests_s, recent.forget_before),),
        clear_unserved=_clear_unserved(settings),
    )


def _clear_unserved(settings: Settings) -> Callable[[], Awaitable[None]] | None:
    try:
        from backends.local.kept import clear_unserved
    except ImportError:
        return None

    async def clear() -> None:
        await asyncio.to_thread(clear_unserved, settings.data_dir / "kv")

    return clear


def _erase_kept(settings: Settings, secret: bytes) -> EraseKept | None:
    """None where the packages of local models are not installed: then nothing of theirs was ever kept."""
    try:
        from backends.local.kept import NotErased, erase_kept
    except ImportError:
        return None
    folder, keys = settings.data_dir / "kv", seal_keys_of(settings)
    urls = {kv_redis_of(settings, model.engine) for model in settings.local_models} or {settings.redis}

    async def erase(tenant: str) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        try:
            for url in sorted(urls):
                found = await asyncio.to_thread(partial(erase_kept, folder, url, secret, tenant, keys))
                counts = {tier: counts.get(tier, 0) + count for tier, count in found.items()}
        except NotErased as error:
            raise CacheError(str(error)) from error
        return counts

    return erase
