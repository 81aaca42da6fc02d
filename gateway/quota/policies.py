"""What a tenant may do: the operator's word about it, from the file or the admin API, and that of its key.

A policy only narrows what [cache] and its routes allow, and a key's only narrows its tenant's. So the order in which
they are put together says nothing, and no place can give what another took. Without any, everything is `FREE`.

What callers ask of the cache to be left out of it - no-store, a namespace, a salt, fewer tiers, more likeness - is
theirs whatever a policy says. What makes work - reading past the cache, other ages and lives, tags - a policy may take.

Whose kept policy cannot be read may do nothing: nobody knows what it was kept from.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from gateway.callers.caller import Caller
from gateway.controls import Controls
from gateway.errors import ControlNotAllowed, InvalidRequest, ModelNotAllowed, PolicyUnreadable, StoreAway
from gateway.policy import Mode, Rules, narrower_mode
from gateway.quota.reading import read_said, written
from gateway.quota.records import EVERYBODY, TENANTS, FolderRack, Record, is_subject
from gateway.racks.kind import Rack
from gateway.racks.racks import Racks
from gateway.settings.trust import COSTLY, Limits, TenantSettings

log = logging.getLogger(__name__)

REFRESH_S = 2.0  # what another process was told is known after so long
MAX_TENANTS = 100_000
MOST_KNOWN = 10_000  # policies put together and remembered


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
    is_unread: bool = False  # something was said of the tenant, and nobody knows what

    def allows(self, model: str) -> bool:
        return all(any(fnmatchcase(model, pattern) for pattern in patterns) for patterns in self.models)

    def check_model(self, model: str) -> None:
        """Raises `ModelNotAllowed`, `PolicyUnreadable`."""
        if self.is_unread:
            raise PolicyUnreadable
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
        if (self.semantic_mode, self.max_ttl_s, self.min_similarity, self.hit_details, self.shares) == AS_RULED:
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


AS_RULED = ("on", None, 0.0, True, True)  # what takes nothing of the rules of a route
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


def check_subject(tenant: str) -> None:
    """Raises `InvalidRequest` for a name of which nothing can be said."""
    if not is_subject(tenant):
        raise InvalidRequest(f"{tenant!r} is no name of a tenant: 32 hexadecimal digits, anonymous, or *.", "tenant")


NOTHING = TenantPolicy(models=((),))  # of a key whose own policy cannot be read
UNREAD = TenantPolicy(models=((),), semantic_mode="off", shares=False, is_unread=True)  # of a tenant whose cannot


class Policies:
    """Who may do what: the file's word, and over it what was said at run time. Belongs to one event loop."""

    def __init__(
        self,
        file: Iterable[TenantSettings] = (),
        racks: Sequence[Rack[Record]] = (),
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = {said.tenant: said for said in file}
        self._folders = [rack for rack in racks if isinstance(rack, FolderRack)]
        self._kept = Racks(TENANTS, racks, self._learned)
        self._records = self._kept.records
        self._now = now
        self._said = dict(self._file)
        self._strange: dict[str, str] = {}  # tenants of whom something is known that cannot be read, and why
        self._unread: frozenset[str] = frozenset()  # those, and the ones whose files say nothing at all
        self._known: dict[tuple[str, str], TenantPolicy] = {}
        self._is_behind = False

    def of(self, caller: Caller) -> TenantPolicy:
        """What holds for this caller: for its tenant, and for its key."""
        if not self._said and not self._unread and caller.narrowing is None:
            return FREE
        name = caller.tenant, "" if caller.narrowing is None else caller.key
        policy = self._known.get(name)
        if policy is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            policy = self._known[name] = self._made(caller)
        return policy

    def check(self, caller: Caller) -> None:
        """Raises `PolicyUnreadable`."""
        if self._unread and self.of(caller).is_unread:
            raise PolicyUnreadable

    def of_tenant(self, tenant: str) -> TenantPolicy:
        """What holds for a tenant, whichever key it shows."""
        return self.of(Caller(tenant))

    def told(self) -> dict[str, dict[str, Any]]:
        """Every word there is, by tenant, and where it was said: in the file, or to the admin API."""
        known = {
            tenant: {"policy": written(said), "source": "admin" if self._is_changed(tenant) else "file"}
            for tenant, said in self._said.items()
        }
        unread = {tenant: {"policy": None, "source": "admin", "unreadable": True} for tenant in self._unread}
        return dict(sorted((known | unread).items()))

    # -- the operator ------------------------------------------------------------------------------------------------

    async def say(self, tenant: str, said: Mapping[str, Any]) -> None:
        """Another word about a tenant, from now on. Raises `InvalidRequest`, `StoreAway`."""
        check_subject(tenant)
        if len(self._records) >= MAX_TENANTS and tenant not in self._records:
            raise InvalidRequest(f"Of {MAX_TENANTS} tenants something is said already.", "tenant")
        await self._kept.keep(Record(tenant, self._after(tenant), written(read_said(said, tenant))))

    async def unsay(self, tenant: str) -> bool:
        """Take a word back that was said at run time: what the file says holds again. Raises `StoreAway`."""
        if not self._is_changed(tenant) and tenant not in self._unread:
            return False
        await self._kept.keep(Record(tenant, self._after(tenant), None))
        return True

    def _after(self, tenant: str) -> float:
        """Now, and later than the last word about a tenant even where the clock was put back: the newest holds."""
        mine = self._records.get(tenant)
        return self._now() if mine is None else max(self._now(), mine.changed_s + 0.001)

    # -- where it is kept --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read what was said; what cannot be read now is read again later."""
        await self._try_refresh()

    async def follow(self) -> None:
        """Learn for ever what other processes were told."""
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._try_refresh()

    async def refresh(self) -> None:
        """Learn what other processes were told, and give each place what it lacks. Raises `StoreAway`."""
        try:
            await self._kept.refresh()
        finally:
            self._note_unread()

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
            self._is_behind = False
        except StoreAway as error:
            if not self._is_behind:
                log.warning("what was said of tenants elsewhere is not known: %s", error)
            self._is_behind = True

    def _learned(self, record: Record) -> None:
        self._known.clear()
        self._strange.pop(record.tenant, None)
        said = None
        if record.more:  # of a newer version: it may narrow what is known here
            self._strange[record.tenant] = f"{min(record.more)} is not known here."
        elif record.said is not None:
            try:
                said = read_said(record.said, record.tenant)
            except InvalidRequest as error:
                self._strange[record.tenant] = error.message
        if (said := said or self._file.get(record.tenant)) is None:
            self._said.pop(record.tenant, None)
        else:
            self._said[record.tenant] = said
        self._note_unread()

    def _note_unread(self) -> None:
        """Of whom something is kept that cannot be read here, and is known from nowhere else."""
        broken = {tenant for rack in self._folders for tenant in rack.unread}
        unread = frozenset(self._strange.keys() | broken - self._records.keys())
        for tenant in sorted(unread - self._unread):
            log.error(
                "the policy of tenant %s cannot be read: it may do nothing until another one is written "
                "(PUT /admin/api/tenants/%s), or it is taken back (DELETE); %s",
                tenant,
                tenant,
                self._strange.get(tenant, "its file is damaged"),
            )
        if unread != self._unread:
            self._unread = unread
            self._known.clear()

    def _is_changed(self, tenant: str) -> bool:
        return (record := self._records.get(tenant)) is not None and record.said is not None

    def _made(self, caller: Caller) -> TenantPolicy:
        whose = caller.tenant if caller.tenant in self._said or caller.tenant in self._unread else EVERYBODY
        if whose in self._unread:
            return UNREAD
        said = self._said.get(whose)
        policy = FREE if said is None else policy_of(said, caller.tenant)
        if caller.narrowing is None:
            return policy
        try:
            account = f"{caller.tenant}/{caller.family or caller.key}"
            return narrower(policy, policy_of(read_said(caller.narrowing), account))
        except InvalidRequest as error:
            log.error("the policy of key %s cannot be read, and allows nothing: %s", caller.key, error)
            return NOTHING
