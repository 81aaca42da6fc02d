"""What a tenant may do: the operator's word about it, from the file or the admin API, and that of its key.

A policy only narrows what [cache] and its routes allow, and a key's only narrows its tenant's. So the order in which
they are put together says nothing, and no place can give what another took. Without any, everything is `FREE`.

What callers ask of the cache to be left out of it - no-store, a namespace, a salt, fewer tiers, more likeness - is
theirs whatever a policy says. What makes work - reading past the cache, other ages and lives, tags - a policy may take.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from gateway.callers.caller import Caller
from gateway.controls import Controls
from gateway.errors import ControlNotAllowed, ModelNotAllowed
from gateway.policy import Mode, Rules, narrower_mode
from gateway.settings.trust import COSTLY, Limits, TenantSettings

EVERYBODY = "*"  # the policy of every tenant that has none of its own; each has limits for itself


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What holds for one caller. A value; `FREE` is the one that takes nothing."""

    models: tuple[tuple[str, ...], ...] = ()  # a model has to match one pattern of each
    semantic_mode: Mode = "on"
    max_ttl_s: float | None = None
    min_similarity: float = 0.0
    hit_details: bool = True
    controls: frozenset[str] = COSTLY  # of those that make work, what a caller may use
    refuses: bool = False  # a control that is not allowed is an error; else it is left out, and the caller told so
    shares: bool = True  # may be given, and give, answers of a route that is shared among tenants
    limits: tuple[tuple[str, Limits], ...] = ()  # whose, and how much: of the tenant, of the key

    def allows(self, model: str) -> bool:
        return all(any(fnmatchcase(model, pattern) for pattern in patterns) for patterns in self.models)

    def check_model(self, model: str) -> None:
        """Raises `ModelNotAllowed`."""
        if self.models and not self.allows(model):
            raise ModelNotAllowed(model)

    def refused(self, controls: Controls) -> tuple[str, ...]:
        """The controls that are asked for and not allowed, by name."""
        asked = {
            "no-cache": controls.no_cache,
            "max-age": controls.max_age_s is not None,
            "stale": controls.stale_s > 0,
            "ttl": controls.ttl_s is not None and controls.ttl_s > 0,  # 0 keeps nothing: as no-store
            "tags": bool(controls.tags),
        }
        return tuple(name for name, is_asked in asked.items() if is_asked and name not in self.controls)

    def clamp(self, controls: Controls) -> Controls:
        """The controls without what is not allowed. Raises `ControlNotAllowed` where the policy says so."""
        if self.controls == COSTLY or not (taken := self.refused(controls)):
            return controls
        if self.refuses:
            raise ControlNotAllowed(taken[0])
        return replace(
            controls,
            no_cache=controls.no_cache and "no-cache" not in taken,
            max_age_s=None if "max-age" in taken else controls.max_age_s,
            stale_s=0.0 if "stale" in taken else controls.stale_s,
            ttl_s=None if "ttl" in taken else controls.ttl_s,
            tags=() if "tags" in taken else controls.tags,
        )

    def over(self, rules: Rules) -> Rules:
        """The rules of a route as they hold for this caller."""
        if self is FREE:
            return rules
        limits = [ttl for ttl in (rules.max_ttl_s, self.max_ttl_s) if ttl is not None]
        return replace(
            rules,
            mode=narrower_mode(rules.mode, self.semantic_mode),
            max_ttl_s=min(limits, default=None),
            min_similarity=max(rules.min_similarity, self.min_similarity),
            hit_details=rules.hit_details and self.hit_details,
            share_tenants=rules.share_tenants if self.shares else 0,
        )


FREE = TenantPolicy()


def policy_of(said: TenantSettings, subject: str) -> TenantPolicy:
    """What an operator said, for one subject: a tenant, or a key."""
    return TenantPolicy(
        models=() if said.models == ("*",) else (said.models,),
        semantic_mode=said.semantic_mode,  # type: ignore[arg-type]  # checked when it was read
        max_ttl_s=said.max_ttl_s,
        min_similarity=said.min_similarity,
        hit_details=said.hit_details,
        controls=COSTLY if said.controls == ("*",) else frozenset(said.controls),
        refuses=said.refuse_controls,
        shares=said.share,
        limits=((subject, said.limits),) if said.limits.any else (),
    )


def narrower(one: TenantPolicy, other: TenantPolicy) -> TenantPolicy:
    """What both allow."""
    ttls = [ttl for ttl in (one.max_ttl_s, other.max_ttl_s) if ttl is not None]
    return TenantPolicy(
        models=one.models + other.models,
        semantic_mode=narrower_mode(one.semantic_mode, other.semantic_mode),
        max_ttl_s=min(ttls, default=None),
        min_similarity=max(one.min_similarity, other.min_similarity),
        hit_details=one.hit_details and other.hit_details,
        controls=one.controls & other.controls,
        refuses=one.refuses or other.refuses,
        shares=one.shares and other.shares,
        limits=one.limits + other.limits,
    )


class Policies:
    """Who may do what. Belongs to one event loop."""

    def __init__(self, file: Iterable[TenantSettings] = ()) -> None:
        self.file: Mapping[str, TenantSettings] = {said.tenant: said for said in file}
        self._said = dict(self.file)
        self._known: dict[str, TenantPolicy] = {}

    def of(self, caller: Caller) -> TenantPolicy:
        """What holds for this caller."""
        if not self._said and caller.narrowing is None:
            return FREE
        return self.of_tenant(caller.tenant)

    def of_tenant(self, tenant: str) -> TenantPolicy:
        """What holds for all of a tenant."""
        said = self._said.get(tenant) or self._said.get(EVERYBODY)
        return FREE if said is None else policy_of(said, tenant)
