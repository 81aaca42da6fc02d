"""What the operator allows, route by route."""

from dataclasses import replace
from typing import cast

from gateway.policy import History, Mode, RouteRules, Rules
from gateway.settings import RouteSettings, Settings


def rules_of(settings: Settings, *, has_semantic: bool) -> Rules:
    """What the operator allows, route by route."""
    cache = settings.cache
    keeps_s = settings.retention.answers_s or None
    every = Rules(
        exact=cache.enabled,
        semantic=has_semantic,
        mode=cast("Mode", cache.semantic_mode),
        history=cast("History", cache.semantic_history),
        max_wrong_hit_rate=cache.max_wrong_hit_rate,
        shadow_rate=cache.shadow_rate,
        min_similarity=cache.min_similarity,
        max_temperature=cache.max_temperature,
        default_ttl_s=_shorter(cache.default_ttl_s, keeps_s),
        max_ttl_s=_shorter(cache.max_ttl_s, keeps_s),
        keeps_s=keeps_s,
        sliding_ttl=cache.sliding_ttl,
        hit_details=cache.hit_details,
        replay_tokens_per_s=cache.replay_tokens_per_s,
        pads_shared_hits=cache.pad_shared_hits,
    )
    return replace(every, routes=tuple(_route_rules(route, every) for route in cache.routes))


def _shorter(one_s: float | None, other_s: float | None) -> float | None:
    return min((time_s for time_s in (one_s, other_s) if time_s is not None), default=None)


def _route_rules(route: RouteSettings, every: Rules) -> RouteRules:
    names = ("max_wrong_hit_rate", "shadow_rate", "min_similarity", "hit_details", "replay_tokens_per_s")
    own = {name: value for name in names if (value := getattr(route, name)) is not None}
    mode = cast("Mode", route.semantic_mode or every.mode)
    history = cast("History", route.semantic_history or every.history)
    rules = replace(every, route=route.name, mode=mode, history=history, share_tenants=route.share_tenants, **own)
    return RouteRules(route.model, route.namespace, route.tenant, rules)
