"""Lanes as the operator sees and changes them while the server runs: /admin/api/thresholds."""

from dataclasses import replace
from typing import Any

from gateway.answers.base import CacheError
from gateway.errors import InvalidRequest, StoreAway
from gateway.identity.scope import is_tenant
from gateway.policy import Mode, Rules
from gateway.semantic.changes import Change
from gateway.semantic.figures import lane_figures
from gateway.semantic.held import Held
from gateway.semantic.quality import all_lanes, lane_quality
from gateway.semantic.rule import LaneKey, LaneRule
from gateway.semantic.tier import Semantic

MAX_LISTED = 200  # lanes in one answer


class Thresholds:
    """What the admin routes work on. Raises `StoreAway` when labels cannot be read."""

    def __init__(self, semantic: Semantic, rules: Rules) -> None:
        self._semantic = semantic
        every = (rules, *(route.rules for route in rules.routes))
        loose = (one.loosely() for one in every if one.history == "loose")
        self._rules = {one.route: one for one in (*every, *loose)}

    async def report(self) -> list[dict[str, Any]]:
        """Every lane that is in memory or has labels, of routes there are."""
        return [self._figures(await self._held(key)) for key in await self._keys()]

    async def quality(self) -> dict[str, Any]:
        """The same lanes with what is known of their hits."""
        held = [await self._held(key) for key in await self._keys()]
        lanes = [lane_quality(self._semantic, one, self._semantic.verifiers.versions(one.rule.key)) for one in held]
        return all_lanes(self._semantic, lanes)

    async def _keys(self) -> list[LaneKey]:
        keys = dict.fromkeys(held.rule.key for held in self._semantic.lanes.known())
        try:
            counts = await self._semantic.learning.counts()
        except CacheError as error:
            raise StoreAway(f"The labels cannot be read: {error}.") from error
        keys |= dict.fromkeys(key for key, _ in counts.most_common(MAX_LISTED))
        return [key for key in list(keys)[:MAX_LISTED] if key.route in self._rules]

    async def change(
        self, tenant: str, route: str, mode: Mode | None, max_wrong_hit_rate: float | None, verifier: str | None
    ) -> dict[str, Any]:
        """Change one lane until the next start; a verifier is chosen for good. Raises `InvalidRequest`."""
        if route not in self._rules:
            known = ", ".join(sorted(self._rules))
            raise InvalidRequest(f"route {route!r} is not in the configuration; there are: {known}.", "route")
        key = LaneKey(tenant, route)
        if not await self._may_be(key):
            raise InvalidRequest(
                f"tenant {tenant!r} is none: it is the name that GET thresholds and GET entries show.", "tenant"
            )
        if verifier is not None and not await self._semantic.choose_verifier(key, verifier):
            known = ", ".join((*self._semantic.verifiers.versions(key), "shipped"))
            raise InvalidRequest(f"verifier {verifier!r} is not one of this lane's: {known}.", "verifier")
        if not self._semantic.changes.make(key, Change(mode, max_wrong_hit_rate)):
            raise InvalidRequest("Too many lanes are changed at run time; write it in the configuration.", "tenant")
        return self._figures(await self._held(key))

    async def _may_be(self, key: LaneKey) -> bool:
        """Whether a caller can have this lane, or has it."""
        if is_tenant(key.tenant) or key in {held.rule.key for held in self._semantic.lanes.known()}:
            return True
        try:
            return key in await self._semantic.learning.counts()
        except CacheError as error:
            raise StoreAway(f"The labels cannot be read: {error}.") from error

    async def _held(self, key: LaneKey) -> Held:
        rules = self._semantic.changes.ruled(key.tenant, self._rules[key.route])
        try:
            return await self._semantic.lanes.report(LaneRule.of(key.tenant, replace(rules, route=key.route)))
        except CacheError as error:
            raise StoreAway(f"The labels of this lane cannot be read: {error}.") from error

    def _figures(self, held: Held) -> dict[str, Any]:
        return lane_figures(held, self._semantic.verifiers.versions(held.rule.key), held.verifier.name)
