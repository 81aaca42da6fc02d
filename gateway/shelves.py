"""Where a stored answer may lie, asked in the order of the tiers; what each look came to is counted.

    exact       the same request
    common      what enough other tenants asked in these very words
    similar     the same question in other words: one's own, of another history, then what tenants share

A shelf that fails is one that has nothing: a request never hears of it.
"""

import time
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.answers.base import Entry, NearAnswers
from gateway.answers.packed import Packed
from gateway.asked import Asked
from gateway.commons.commons import Commons
from gateway.commons.rule import Place, is_undisputed
from gateway.controls import Controls
from gateway.ledger import Ledger
from gateway.policy import Rules
from gateway.semantic.found import Match, NoMatch
from gateway.semantic.rule import LaneRule

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic


class Shelves:
    """Looks for stored answers. Belongs to one event loop."""

    def __init__(
        self,
        answers: NearAnswers,
        semantic: "Semantic | None",
        commons: Commons | None,
        rules: Rules,
        ledger: Ledger,
    ) -> None:
        self._answers = answers
        self._semantic = semantic
        self._commons = commons
        self._rules = rules
        self._ledger = ledger

    async def exact(self, asked: Asked) -> tuple[Entry | None, str | None]:
        """What lies under the key, and why it may not be served."""
        fp, entry = asked.fp, None
        with self._ledger.best_effort("exact_read"):
            entry = await self._answers.get(fp.scope, fp.exact)
        miss = self.exact_miss(asked, entry)
        self._ledger.looked_up("exact", "miss" if miss else "hit", miss or "same_request")
        return entry, miss

    def exact_miss(self, asked: Asked, entry: Entry | None) -> str | None:
        """Why what lies under the key may not be served; the key alone is not trusted."""
        if entry is None:
            return "absent"
        if entry.canonical != asked.fp.canonical:
            return "collision"
        return None if self.is_usable(entry, asked.controls) else "expired"

    async def common(self, asked: Asked) -> Entry | None:
        """What tenants share of this very request."""
        if asked.place is None:
            return None
        entry = None
        if self._commons is not None:
            with self._ledger.best_effort("commons_read"):
                entry = await self._commons.find(asked.place, asked.request.owner)
        is_hit = entry is not None and entry.is_fresh(time.time())
        self._ledger.looked_up("commons", "hit" if is_hit else "miss", "same_request" if is_hit else "absent")
        return entry if is_hit else None

    async def similar(self, asked: Asked) -> Match | NoMatch:
        """An answer to the same question in other words. Where a look was sampled none further is made."""
        if self._semantic is None:
            return NoMatch("off")
        found = await self._own(self._semantic, asked)
        if isinstance(found, NoMatch) and not found.is_shadowed and asked.reads_loosely:
            found = _further(found, await self._loosely(self._semantic, asked))
        if isinstance(found, NoMatch) and not found.is_shadowed and asked.place is not None:
            found = await self._like_common(self._semantic, asked, asked.place, found)
        return found

    async def _own(self, semantic: "Semantic", asked: Asked) -> Match | NoMatch:
        if (question := asked.question) is None:
            refusal = asked.semantic_refusal or "no_question"
            self._ledger.looked_up("semantic", "refused", refusal)
            return NoMatch(refusal)
        look = semantic.find(
            asked.fp,
            question,
            rule=asked.rule,
            min_similarity=asked.plan.min_similarity,
            is_usable=partial(self.is_usable, controls=asked.controls),
            may_sample=asked.plan.write and not asked.controls.only_if_cached,
        )
        return await self._counted("semantic", "semantic_read", look)

    async def _loosely(self, semantic: "Semantic", asked: Asked) -> Match | NoMatch:
        """What other histories have, when its own has nothing."""
        look = semantic.find_loosely(
            asked.fp,
            rule=self.loose_rule(asked),
            min_similarity=asked.plan.min_similarity,
            is_usable=partial(self.is_usable, controls=asked.controls),
            may_sample=asked.plan.write and not asked.controls.only_if_cached,
        )
        return await self._counted("loose", "loose_read", look)

    async def _like_common(self, semantic: "Semantic", asked: Asked, place: Place, own: NoMatch) -> Match | NoMatch:
        """What tenants share of the same question in other words, when one's own has nothing."""
        if asked.question is None or asked.controls.min_similarity is not None:
            return own  # who asks for a likeness could feel out, by halves, how alike others' questions are
        look = semantic.find(
            place.fp,
            asked.question,
            rule=asked.rule,
            min_similarity=asked.plan.min_similarity,
            is_usable=is_undisputed,
            may_sample=asked.plan.write,
        )
        return _further(own, await self._counted("commons", "commons_read", look))

    async def _counted(self, shelf: str, operation: str, look: Awaitable[Match | NoMatch]) -> Match | NoMatch:
        found: Match | NoMatch = NoMatch("failed")
        with self._ledger.best_effort(operation):
            found = await look
        if isinstance(found, Match):
            self._ledger.looked_up(shelf, "hit", found.reason)
        else:
            self._ledger.looked_up(shelf, "shadow" if found.is_shadowed else "miss", found.reason)
        return found

    def loose_rule(self, asked: Asked) -> LaneRule:
        """What the operator allows of hits of other histories."""
        rules, tenant = asked.rules.loosely(), asked.request.owner
        if self._semantic is not None:
            rules = asked.policy.over(self._semantic.changes.ruled(tenant, rules))
        return LaneRule.of(tenant, rules)

    def is_usable(self, entry: Entry | Packed, controls: Controls) -> bool:
        """Whether the caller accepts an entry of this age."""
        now_s, expires_s = time.time(), entry.expires_s
        for limit_s in (controls.max_age_s, self._rules.keeps_s):
            if limit_s is not None and entry.is_older(limit_s, now_s):
                return False
        return expires_s is None or now_s - controls.stale_s < expires_s


def _further(before: NoMatch, found: Match | NoMatch) -> Match | NoMatch:
    """What a further shelf had; else the first miss, with the neighbours that are to be compared."""
    if isinstance(found, Match):
        return found
    return replace(before, seen=found.seen) if found.is_shadowed or before.seen is None else before
