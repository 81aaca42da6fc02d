"""The router out of the settings: local engines, the server of `upstream`, those of [[backends]], aliases."""

from collections.abc import Sequence
from dataclasses import fields

from backends.base import Backend
from backends.http import Timeouts
from backends.remote import RemoteSpec, remote
from backends.routing.aliases import Alias, Target
from backends.routing.asking import RetryRule
from backends.routing.breaker import BreakerRule
from backends.routing.budget import RetryBudget
from backends.routing.gate import GateRule
from backends.routing.listening import EventSource
from backends.routing.member import Member, MemberRule
from backends.routing.router import Router
from backends.routing.watch import WatchRule
from gateway.services.backends import upstream_of
from gateway.settings import Settings, UpstreamSettings
from gateway.settings.backends import AliasSettings, BackendSettings, BackendTimeouts, RoutingSettings

ENGINES = WatchRule(every_s=1.0, down_after=1, up_after=1)  # they are next door, and know for sure how they are


def router_of(settings: Settings, local: Sequence[Backend]) -> Router:
    """The router over local engines and servers. Raises ValueError for an address that cannot be used."""
    routing = settings.routing
    upstream = upstream_of(settings) if settings.upstream else None
    if not settings.backends and not settings.aliases:  # what was always there, treated as it always was
        return Router(local, upstream)
    servers = [_member(backend, settings) for backend in settings.backends]
    if upstream is not None:
        servers.append(Member(upstream, MemberRule(names=("*",), breaker=_breaker(routing), watch=_watch(routing))))
    return Router(
        [*local, *servers],
        aliases=_aliases(settings.aliases),
        policy=routing.policy,
        retry=RetryRule(routing.retries, routing.retry_first_s, routing.retry_wait_s),
        budget=RetryBudget(share=routing.retry_share),
        rule=MemberRule(watch=ENGINES),  # local engines are replicas like others: one that is loading is asked last
    )


def spec_of(backend: BackendSettings, settings: Settings) -> RemoteSpec:
    """The server as whoever talks to it knows it."""
    return RemoteSpec(
        backend.name,
        backend.url,
        backend.flavour,
        api_key=backend.api_key,
        models=tuple(name for name in backend.models if name != "*"),
        headers=backend.headers,
        timeouts=_timeouts(backend.timeouts, settings.timeouts),
        predicts=backend.prediction,
        max_tokens=backend.max_tokens,
        revision=backend.revision,
    )


def _member(backend: BackendSettings, settings: Settings) -> Member:
    routing = settings.routing
    rule = MemberRule(
        weight=backend.weight,
        names=backend.models,
        gate=GateRule(backend.max_concurrency, backend.max_queue, backend.queue_s),
        breaker=_breaker(routing),
        watch=_watch(routing),
        events=EventSource(backend.kv_events, backend.kv_replay) if backend.kv_events else None,
        states_revision=bool(backend.revision),
    )
    return Member(remote(spec_of(backend, settings)), rule)


def _breaker(routing: RoutingSettings) -> BreakerRule:
    return BreakerRule(
        failures=routing.breaker_failures,
        share=routing.breaker_share,
        window=routing.breaker_window,
        open_s=routing.breaker_open_s,
        max_open_s=routing.breaker_max_open_s,
    )


def _watch(routing: RoutingSettings) -> WatchRule | None:
    return (
        None
        if routing.health_s == 0
        else WatchRule(routing.health_s, routing.health_down_after, routing.health_up_after)
    )


def _timeouts(own: BackendTimeouts, every: UpstreamSettings) -> Timeouts:
    names = [item.name for item in fields(BackendTimeouts)]
    return Timeouts(**{name: getattr(every, name) if (t := getattr(own, name)) is None else t for name in names})


def _aliases(aliases: tuple[AliasSettings, ...]) -> list[Alias]:
    return [
        Alias(alias.name, tuple(Target(target.model, target.weight) for target in alias.targets), alias.fallback)
        for alias in aliases
    ]
