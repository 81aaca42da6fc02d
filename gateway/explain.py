"""Why would this request hit or miss, and why did that one: for the admin API and `twicetold explain`.

It takes the road of a request up to the point where something would be served, and looks without touching: no hit is
counted, nothing is generated, nothing is written.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from backends.chat import ChatRequest
from gateway.answers.base import CacheError, Entry
from gateway.answers.selection import Listed, Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.asked import Asked
from gateway.controls import Controls
from gateway.errors import StoreAway
from gateway.identity.differences import SHOWN_CHARS, Difference, differences, likeness
from gateway.pipeline import Pipeline
from gateway.quota.policies import FREE, TenantPolicy
from gateway.semantic.found import Match, NoMatch
from gateway.served import Served

if TYPE_CHECKING:
    from embeddings.control import Verdict
    from gateway.commons.commons import Commons
    from gateway.semantic.tier import Semantic

NEAREST_OF = 200  # stored requests of a scope that are compared, the newest
ELSEWHERE = 5

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a request, tier by tier; every part is JSON."""

    would: JSON
    request: JSON
    normalised: JSON
    plan: JSON
    exact: JSON
    semantic: JSON
    commons: JSON | None = None  # None: nothing is shared on its route

    def as_json(self) -> JSON:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The stored request that is most like the one asked, and what keeps them apart."""

    entry: str
    differences: list[Difference] = field(default_factory=list)

    def as_json(self) -> JSON:
        return asdict(self)


class Explainer:
    """Looks, and says why. Belongs to one event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        answers: TieredAnswers,
        semantic: "Semantic | None",
        commons: "Commons | None" = None,
    ) -> None:
        self._pipeline = pipeline
        self._answers = answers
        self._semantic = semantic
        self._commons = commons

    async def explain(
        self, request: ChatRequest, tenant: str, salt: str, controls: Controls, policy: TenantPolicy = FREE
    ) -> Explanation:
        """What would happen to `request` now. Raises `GatewayError` or `BackendError`."""
        asked = await self._pipeline.ask(request, tenant, salt, policy.clamp(controls), policy)
        try:
            entry = await self._answers.peek(asked.fp.scope, asked.fp.exact)
            miss = self._pipeline.shelves.exact_miss(asked, entry)
            exact = await self._exact(asked, entry, miss)
            commons = None if self._commons is None else await self._commons.explain(asked)
        except CacheError as error:
            raise StoreAway(str(error)) from error
        found = await self._similar(asked)
        other = await self._loosely(asked, found)
        if isinstance(other, Match) or (isinstance(other, NoMatch) and other.is_shadowed):
            found = other
        return Explanation(
            would=_would(asked, entry, miss, found, commons),
            request={
                "model": request.model,
                "revision": asked.route.model.revision,
                "tenant": tenant,
                "namespace": controls.namespace,
                "has_salt": bool(salt),
                "entry": asked.fp.entry_id,
            },
            normalised=_normalised(asked),
            plan=_plan(asked),
            exact=exact,
            semantic={
                **_semantic(asked, found),
                "other_histories": other if other is None or isinstance(other, str) else other.reason,
            },
            commons=commons,
        )

    async def _exact(self, asked: Asked, entry: Entry | None, miss: str | None) -> JSON:
        if entry is not None:
            now_s = time.time()
            ends_s = None if entry.expires_s is None else entry.expires_s - now_s
            kept = {
                "entry": entry.id,
                "age_s": entry.age_s(now_s),
                "ttl_s": ends_s,
                "good": entry.good,
                "bad": entry.bad,
            }
            return {"found": True, "miss": miss, **kept}
        elsewhere = await self._answers.select(Selection(canonical=asked.fp.canonical), Page(ELSEWHERE))
        places = [_place(asked, row) for row in elsewhere]
        near = None if places else await self._nearest(asked)
        return {
            "found": False,
            "miss": miss,
            "elsewhere": places,
            "nearest": None if near is None else near.as_json(),
        }

    async def _nearest(self, asked: Asked) -> Nearest | None:
        rows = await self._answers.requests(asked.fp.scope, NEAREST_OF)
        return await asyncio.to_thread(nearest, asked.fp.canonical, rows)  # long histories are not the loop's affair

    async def _similar(self, asked: Asked) -> Match | NoMatch | str:
        """What the semantic tier makes of it, or why it is not asked."""
        if self._semantic is None:
            return "not_installed_or_off"
        if not asked.plan.read_semantic:
            return asked.plan.bypass or "tier_off"
        if asked.question is None:
            return asked.semantic_refusal or "no_question"
        is_usable = partial(self._pipeline.shelves.is_usable, controls=asked.controls)
        try:
            return await self._semantic.consider(
                asked.fp,
                asked.question,
                rule=asked.rule,
                min_similarity=asked.plan.min_similarity,
                is_usable=is_usable,
            )
        except CacheError as error:
            return f"failed: {error}"

    async def _loosely(self, asked: Asked, strict: Match | NoMatch | str) -> Match | NoMatch | str | None:
        """What other histories have; None when they are not looked at."""
        is_served = isinstance(strict, Match) or (isinstance(strict, NoMatch) and strict.is_shadowed)
        if self._semantic is None or not asked.plan.read_semantic or is_served or not asked.reads_loosely:
            return None
        try:
            return await self._semantic.consider_loosely(
                asked.fp,
                rule=self._pipeline.shelves.loose_rule(asked),
                min_similarity=asked.plan.min_similarity,
                is_usable=partial(self._pipeline.shelves.is_usable, controls=asked.controls),
            )
        except CacheError as error:
            return f"failed: {error}"


def nearest(canonical: bytes, rows: Sequence[tuple[str, bytes]]) -> Nearest | None:
    """Of requests by id the most like this one: the fewest fields apart, then the most text in common."""
    here = orjson.loads(canonical)
    best: tuple[int, float] | None = None
    found = None
    for entry_id, other in rows:
        apart = differences(here, orjson.loads(other))
        rank = (len(apart), -likeness(canonical, other))
        if best is None or rank < best:
            best, found = rank, Nearest(entry_id, apart)
    return found


def explain_served(response_id: str, served: Served) -> JSON:
    """What was decided about a response that was given."""
    outcome, rules = served.outcome, served.rules
    judged = None
    if served.verdict is not None:
        questions = {} if served.entry is None else {served.entry: served.stored_question}
        judged = _verdict(served.verdict, questions)
    return {
        "id": response_id,
        "tier": outcome.tier,
        "reason": outcome.reason,
        "entry": outcome.entry,
        "similarity": outcome.similarity,
        "age_s": outcome.age_s,
        "bypass": outcome.bypass,
        "model": served.model,
        "tenant": served.tenant,
        "question": served.question,
        "stored_question": served.stored_question,
        "semantic": {"mode": rules.mode, "route": rules.route, "target": rules.max_wrong_hit_rate, **(judged or {})},
    }


def _would(
    asked: Asked, entry: Entry | None, miss: str | None, found: Match | NoMatch | str, commons: JSON | None
) -> JSON:
    """The tier that would answer, in the order of the road."""
    if asked.plan.read_exact and entry is not None and miss is None:
        is_fresh = entry.is_fresh(time.time())
        return {
            "tier": "exact",
            "reason": ("same_request" if entry.alias_of is None else "promoted") if is_fresh else "stale",
            "entry": entry.id,
        }
    if asked.plan.read_exact and commons is not None and commons.get("entry") is not None:
        return {"tier": "exact", "reason": "shared", "entry": commons["entry"]}
    if isinstance(found, Match):
        is_fresh = found.entry.is_fresh(time.time())
        return {"tier": "semantic", "reason": found.reason if is_fresh else "stale", "entry": found.entry.id}
    reason = asked.plan.bypass or (miss if miss in ("expired", "collision") else "miss")
    if isinstance(found, NoMatch) and found.is_shadowed:
        reason = "shadow"  # it would be served, and is answered anew all the same to see whether that were right
    return {"tier": "full", "reason": reason, "entry": None}


def _normalised(asked: Asked) -> JSON:
    """What was taken out of the prompt: for the key alone, or for the backend too."""
    normal = asked.normal
    taken = [
        {
            "message": removal.message,
            "part": removal.part,
            "role": removal.role,
            "at": removal.cut.at,
            "rule": removal.cut.rule,
            "text": removal.cut.text[:SHOWN_CHARS],
            "to": removal.cut.to,
        }
        for removal in normal.removals
    ]
    return {"taken_out": taken, "of": "prompt" if normal.is_sent else "key", "clock_stays": normal.rested}


def _plan(asked: Asked) -> JSON:
    names = ("read_exact", "read_semantic", "write", "use_kv", "publish_kv", "bypass", "ttl_s", "min_similarity")
    said = {name: getattr(asked.plan, name) for name in names}
    return {**said, "semantic_refusal": asked.semantic_refusal}


def _semantic(asked: Asked, found: Match | NoMatch | str) -> JSON:
    seen = None if isinstance(found, str) else found.seen
    rules = asked.rules if seen is None else seen.rule.over(asked.rules)
    said: JSON = {
        "mode": rules.mode,
        "route": rules.route,
        "target": rules.max_wrong_hit_rate,
        "min_similarity": asked.plan.min_similarity,
    }
    if isinstance(found, str):
        return {**said, "reason": found}
    questions = {} if seen is None else {entry.id: entry.question for entry in seen.entries.values()}
    judged = {} if seen is None else _verdict(seen.verdict, questions)
    return {**said, **judged, "reason": found.reason, "similarity": found.similarity}


def _verdict(verdict: "Verdict", questions: dict[str, str | None]) -> JSON:
    return {
        "action": verdict.action,
        "why": verdict.reason,
        "threshold": verdict.threshold,
        "probability": verdict.probability,
        "candidates": [
            {
                "entry": one.id,
                "question": questions.get(one.id),
                "similarity": one.similarity,
                "refusal": one.refusal,
                "probability": one.probability,
            }
            for one in verdict.looked
        ],
    }


def _place(asked: Asked, row: Listed) -> JSON:
    """Where else a request is stored, and which walls are between: a salt is not kept, so it is what is left."""
    here = {
        "model": asked.request.model,
        "revision": asked.route.model.revision,
        "namespace": asked.controls.namespace,
        "tenant": asked.request.owner,
    }
    there = {name: getattr(row, name) for name in here}
    walls = [name for name in here if here[name] != there[name]]
    return {"entry": row.id, **there, "walls": walls or ["cache_salt"]}
