"""What settings may be: every bound and every word that is known. A bad value names its key, and stops the start."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from backends.remote import FLAVOURS
from gateway.settings.backends import check_backends, check_url
from gateway.settings.declared import SettingsError
from gateway.settings.doors import check_doors, is_loopback
from gateway.settings.trust import COSTLY

if TYPE_CHECKING:
    from gateway.settings import (
        CacheSettings,
        EdgeSettings,
        EngineSettings,
        RetentionSettings,
        Settings,
        TenantSettings,
    )

EVICTION = ("cost", "lru", "lfu", "fifo", "random")
KV_POLICIES = ("adaptive", "cost-aware", "lru", "lfu", "random")
MAX_PATTERNS = 100
MODES = ("off", "shadow", "on")  # of the semantic tier; shadow: decide and measure, never serve
HISTORIES = ("strict", "loose")


def check(settings: "Settings") -> None:
    """Raises `SettingsError`."""
    _check_ranges(_ranges(settings))
    check_engine(settings.engine, "engine.")
    _check_routes(settings.cache)
    _check_tenants(settings)
    _check_sharing(settings)
    for key in ("judge", "rewriter"):
        if getattr(settings.cache, key) == "local" and not settings.local_model:
            raise SettingsError(
                f"cache.{key} is local, and there is no local model: name one, or a model of the upstream"
            )
    histories = (settings.cache.semantic_history, *(route.semantic_history for route in settings.cache.routes))
    if "loose" in histories and not settings.cache.rewriter:
        raise SettingsError(
            "cache.rewriter is empty, and semantic_history is loose: name a model that makes last turns stand alone,"
            ' or "rules" (which see no topic that only the assistant brought: docs/conversations.md)'
        )
    if settings.redis and not _is_redis(settings.redis):
        raise SettingsError(  # not said: passwords
            "redis must be a redis://, rediss:// or unix:// address; a password in it is percent-encoded, or in the"
            " variable that redis_password_env names"
        )
    _check_names(settings)
    check_backends(settings)
    _one_of("upstream_flavour", settings.upstream_flavour, FLAVOURS)
    _one_of("cache.usage_on_hit", settings.cache.usage_on_hit, ("original", "zero"))
    _one_of("cache.eviction", settings.cache.eviction, EVICTION)
    _one_of("log_level", settings.log_level, ("debug", "info", "warning", "error"))
    if settings.upstream:
        check_url("upstream", settings.upstream, settings.upstream_flavour)
    if settings.tracing.endpoint and urlsplit(settings.tracing.endpoint).scheme not in ("http", "https"):
        raise SettingsError(
            f"tracing.endpoint must be an http:// or https:// address, got {settings.tracing.endpoint!r}"
        )
    check_doors(settings)
    if not settings.allow_no_keys and not settings.needs_keys and not is_loopback(settings.host):
        raise SettingsError(
            f"host {settings.host} can be reached by others and no keys are configured; serve on 127.0.0.1, require"
            " keys (keys.required, `twicetold keys create`) or tokens (oidc.issuer), or set allow_no_keys"
            " (--allow-no-keys) to accept everybody"
        )


MOST_PACE = 1_000_000  # tokens a second


def check_tenant(said: "TenantSettings", prefix: str) -> None:
    """Raises `SettingsError`."""
    limits = said.limits
    counts = ("requests_per_minute", "tokens_per_minute", "concurrent", "tokens_per_day", "tokens_per_month")
    ranges: dict[str, tuple[float, float, float]] = {
        f"{prefix}limits.{key}": (value, 0, 10**15)
        for key in (*counts, "money_per_month")
        if (value := getattr(limits, key)) is not None
    }
    ranges[f"{prefix}min_similarity"] = (said.min_similarity, 0, 1)
    ranges[f"{prefix}max_ttl_s"] = (said.max_ttl_s or 0, 0, 10**10)
    _check_ranges(ranges)
    _one_of(f"{prefix}semantic_mode", said.semantic_mode, MODES)
    for control in said.controls if said.controls != ("*",) else ():
        _one_of(f"{prefix}controls", control, tuple(sorted(COSTLY)))
    if not all(0 < len(pattern) <= 256 for pattern in said.models) or len(said.models) > MAX_PATTERNS:
        raise SettingsError(f"{prefix}models must be at most {MAX_PATTERNS} patterns of 1 to 256 characters")
    if len(said.name) > 200 or not (said.name.isprintable()):
        raise SettingsError(f"{prefix}name must be at most 200 printable characters")
    if re.fullmatch(r"\*|anonymous|[0-9a-f]{32}", said.tenant) is None:
        raise SettingsError(
            f"{prefix}tenant must be 32 hexadecimal digits, as the admin API shows tenants, anonymous, or * for all"
            f" that are not named; got {said.tenant!r}"
        )


def _check_tenants(settings: "Settings") -> None:
    names = set()
    for number, said in enumerate(settings.tenants):
        check_tenant(said, f"tenants[{number}].")
        if said.tenant in names:
            raise SettingsError(f"tenants[{number}].tenant is that of a table before it: {said.tenant}")
        names.add(said.tenant)


def _check_ranges(ranges: Mapping[str, tuple[float, float, float]]) -> None:
    for key, (value, low, high) in ranges.items():
        if not low <= value <= high:  # also refuses NaN
            raise SettingsError(f"{key} must be from {low} to {high}, got {value}")


def check_engine(engine: "EngineSettings", prefix: str) -> None:
    """Raises `SettingsError`."""
    ranges = {
        "kv_mb": (engine.kv_mb, 0, 100_000_000),
        "kv_disk_mb": (engine.kv_disk_mb, 0, 100_000_000),
        "max_running": (engine.max_running, 1, 4096),
        "max_waiting": (engine.max_waiting, 0, 1_000_000),
        "threads": (engine.threads, 0, 1024),
        "max_new_tokens": (engine.max_new_tokens, 0, 10_000_000),
        "context_tokens": (engine.context_tokens, 0, 10_000_000),
        "ready_wait_s": (engine.ready_wait_s, 0, 86400),
        "load_s": (engine.load_s, 1, 86400),
        "hang_s": (engine.hang_s, 1, 86400),
        "memory_mb": (engine.memory_mb, 0, 100_000_000),
    }
    _check_ranges({prefix + key: limits for key, limits in ranges.items()})
    _one_of(f"{prefix}dtype", engine.dtype, ("auto", "float32", "bfloat16"))
    _one_of(f"{prefix}weights", engine.weights, ("auto", "int8", "int4"))
    _one_of(f"{prefix}device", engine.device, ("auto", "cpu", "cuda"))
    _one_of(f"{prefix}kv_policy", engine.kv_policy, KV_POLICIES)
    _one_of(f"{prefix}kv_codec", engine.kv_codec, ("raw", "int8"))
    if engine.exact and engine.kv_codec != "raw":
        raise SettingsError(f"{prefix}kv_codec {engine.kv_codec} changes bits, which {prefix}exact promises not to")
    if engine.kv_redis not in ("", "off") and not _is_redis(engine.kv_redis):
        raise SettingsError(f"{prefix}kv_redis must be a redis://, rediss:// or unix:// address")  # not said: passwords


def _check_routes(cache: "CacheSettings") -> None:
    _one_of("cache.semantic_mode", cache.semantic_mode, MODES)
    _one_of("cache.semantic_history", cache.semantic_history, HISTORIES)
    _one_of("cache.embedder_precision", cache.embedder_precision, ("auto", "float32", "bfloat16"))
    names = set()
    for number, route in enumerate(cache.routes):
        prefix = f"cache.routes[{number}]."
        if route.semantic_mode is not None:
            _one_of(f"{prefix}semantic_mode", route.semantic_mode, MODES)
        if route.semantic_history is not None:
            _one_of(f"{prefix}semantic_history", route.semantic_history, HISTORIES)
        shares = {"max_wrong_hit_rate": (0.0001, 0.5), "shadow_rate": (0, 1), "min_similarity": (0, 1)}
        shares["replay_tokens_per_s"] = (0, MOST_PACE)
        given = ((key, getattr(route, key), *limits) for key, limits in shares.items())
        _check_ranges({prefix + key: (value, low, high) for key, value, low, high in given if value is not None})
        if route.name in names:
            raise SettingsError(f"{prefix}model, namespace and tenant are those of a route before it: {route.name}")
        names.add(route.name)


def _check_sharing(settings: "Settings") -> None:
    """Tenants vouch for what is shared: they have to be several, and cost something to make."""
    for number, route in enumerate(settings.cache.routes):
        key = f"cache.routes[{number}].share_tenants"
        if not route.share_tenants:
            continue
        if not 2 <= route.share_tenants <= 10_000:
            raise SettingsError(f"{key} must be 0, or from 2 to 10000, got {route.share_tenants}")
        if not settings.needs_keys:
            raise SettingsError(
                f"{key} counts tenants, and without keys.required anybody can be as many as they like: require keys"
            )
        if route.tenant:
            raise SettingsError(f"{key} is of a route of one tenant, who has nobody to share with")
        if not fnmatchcase("", route.namespace):
            raise SettingsError(f"{key} is of a route of namespaces, and what has one is never shared")


def _check_names(settings: "Settings") -> None:
    names = [model.name for model in settings.local_models]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"models: {name!r} is the name of two models; give each a name of its own")


def _ranges(settings: "Settings") -> dict[str, tuple[float, float, float]]:
    """Every bounded number: its value, the least and the most it may be."""
    timeouts = settings.timeouts
    return {
        "timeouts.connect_s": (timeouts.connect_s, 0.001, 86400),
        "timeouts.first_token_s": (timeouts.first_token_s, 0.001, 86400),
        "timeouts.idle_s": (timeouts.idle_s, 0.001, 86400),
        "timeouts.total_s": (timeouts.total_s, 0.001, 86400),
        "prefixes.mb": (settings.prefixes.mb, 0, 100_000),
        "tracing.sample": (settings.tracing.sample, 0, 1),
        "prefixes.price_per_million": (settings.prefixes.price_per_million, 0, 1e9),
        "cache.default_ttl_s": (settings.cache.default_ttl_s or 0, 0, 10**10),
        "cache.max_ttl_s": (settings.cache.max_ttl_s or 0, 0, 10**10),
        "port": (settings.port, 0, 65535),
        "oidc.leeway_s": (settings.oidc.leeway_s, 0, 600),
        "oidc.jwks_s": (settings.oidc.jwks_s, 1, 86400),
        "oidc.refetch_s": (settings.oidc.refetch_s, 1, 86400),
        "oidc.timeout_s": (settings.oidc.timeout_s, 0.1, 60),
        "max_body_mb": (settings.max_body_mb, 0.001, 1024),
        "drain_s": (settings.drain_s, 0, 86400),
        **_of_edge(settings.edge),
        **_of_retention(settings.retention),
        "cache.min_similarity": (settings.cache.min_similarity, 0, 1),
        "cache.max_wrong_hit_rate": (settings.cache.max_wrong_hit_rate, 0.0001, 0.5),
        "cache.shadow_rate": (settings.cache.shadow_rate, 0, 1),
        "cache.rewriter_timeout_s": (settings.cache.rewriter_timeout_s, 0.001, 3600),
        "cache.judge_per_hour": (settings.cache.judge_per_hour, 0, 1_000_000),
        "cache.labels_per_tenant": (settings.cache.labels_per_tenant, 1, 10_000_000),
        "cache.max_temperature": (settings.cache.max_temperature, 0, 2),
        "cache.replay_tokens_per_s": (settings.cache.replay_tokens_per_s, 0, MOST_PACE),
        "cache.memory_mb": (settings.cache.memory_mb, 0, 1_000_000),
        "cache.express_mb": (settings.cache.express_mb, 0, 1_000_000),
        "cache.disk_mb": (settings.cache.disk_mb, 1, 100_000_000),
        "cache.index_mb": (settings.cache.index_mb, 0, 100_000_000),
        "cache.embeddings_mb": (settings.cache.embeddings_mb, 0, 100_000_000),
        "cache.tenant_mb": (settings.cache.tenant_mb, 0, 100_000_000),
        "shared.answers_mb": (settings.shared.answers_mb, 1, 100_000_000),
        "shared.tenant_mb": (settings.shared.tenant_mb, 0, 100_000_000),
        "shared.queue_mb": (settings.shared.queue_mb, 0, 1_000_000),
        "shared.lease_s": (settings.shared.lease_s, 0.1, 600),
        "shared.timeout_s": (settings.shared.timeout_s, 0.01, 60),
        "cache.embedder_threads": (settings.cache.embedder_threads, 1, 1024),
        "cache.embedder_timeout_s": (settings.cache.embedder_timeout_s, 0.001, 3600),
    }


def _of_retention(retention: "RetentionSettings") -> dict[str, tuple[float, float, float]]:
    """Kept prefixes that are cleared every few seconds would be of no use to anybody."""
    kv_s = retention.kv_s
    return {
        "retention.answers_s": (retention.answers_s, 0, 10**9),
        "retention.labels_s": (retention.labels_s, 0, 10**9),
        "retention.kv_s": (kv_s, 60 if kv_s else 0, 10**9),
        "retention.conversations_s": (retention.conversations_s, 0, 10**9),
        "retention.requests_s": (retention.requests_s, 0, 10**9),
    }


def _of_edge(edge: "EdgeSettings") -> dict[str, tuple[float, float, float]]:
    return {
        "edge.connections": (edge.connections, 0, 1_000_000),
        "edge.requests": (edge.requests, 0, 1_000_000),
        "edge.bodies_mb": (edge.bodies_mb, 0, 1_000_000),
        "edge.head_kb": (edge.head_kb, 0, 1024),
        "edge.head_s": (edge.head_s, 0, 86400),
        "edge.body_s": (edge.body_s, 0, 86400),
        "edge.idle_s": (edge.idle_s, 0, 86400),
        "edge.write_s": (edge.write_s, 0, 86400),
        "edge.memory_mb": (edge.memory_mb, 0, 100_000_000),
        "edge.flush_s": (edge.flush_s, 0, 86400),
    }


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{key} must be one of {', '.join(known)}; got {value!r}")


def _is_redis(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("redis", "rediss", "unix") and parts.port != 0
    except ValueError:  # a port that is none, or half an address
        return False
