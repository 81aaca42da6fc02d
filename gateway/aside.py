"""The answer cache without the proxy, for apps that call their model themselves: look up, ask the model, put.

    looked = await aside.look_up(...)      a stored answer, or a miss with an id
    ...                                    the app asks its model
    await aside.put(..., lookup=looked.id) the answer is kept, as the proxy would have kept it

Keys, guards, rules, lanes and the write gate are the pipeline's own. Nothing is generated here. What a put that names
its lookup brings was made although near answers were stored, so it is compared with them, like one of the proxy's;
and it is as old as its lookup: what was removed in between stays removed. Misses are remembered in memory alone,
within bounds: a put whose lookup is not known any more is kept all the same, and compared with nothing.

A put returns when the store has the answer; it is served from memory before that. A store that fails, or is silent
for `WORD_S`, costs nothing but that word: the answer is in memory then, and the caller is told so.
"""

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, replace

from backends.chat import ChatRequest, Completion
from gateway.answers.base import Mark
from gateway.asked import Asked
from gateway.controls import Controls
from gateway.errors import InvalidRequest
from gateway.fit import misfit
from gateway.forgotten import Forgotten, Since
from gateway.identity.canonical import question_of
from gateway.ledger import Ledger, Line, head_of
from gateway.outcome import Outcome
from gateway.pipeline import Pipeline
from gateway.quota.policies import FREE, TenantPolicy
from gateway.reply import Reply, served_of
from gateway.semantic.found import Seen
from gateway.served import ServedMemory
from gateway.word import COMPLETE, IN_MEMORY, Word

ROUTE = "lookup"  # the ledger's label
MAX_MISSES = 10_000
MAX_BYTES = 16 * 2**20
MISS_BYTES = 500  # of one, without its neighbours
MAX_AGE_S = 3600.0
WORD_S = 3.0  # that a put waits for the store; a locked file refuses within 2 s


@dataclass(frozen=True, slots=True)
class Found:
    """A stored answer. `id` is what feedback knows it by."""

    id: str
    reply: Reply
    is_forgotten: bool  # its tenant was erased meanwhile: nothing of the words is to be noted


@dataclass(frozen=True, slots=True)
class Missed:
    """Nothing that may be served, and why. `id` is for the put."""

    id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a put; `entry` is None when nothing is kept, and `reason` says why. It is `in_memory` of what is
    kept, but not known to outlive this process."""

    entry: str | None
    reason: str
    ttl_s: float | None
    hit_details: bool = True  # whether the caller is told its entry


@dataclass(frozen=True, slots=True)
class _Miss:
    tenant: str
    exact: bytes
    began: Mark
    since: Since
    seen: Seen | None
    at: float  # perf_counter

    @property
    def size_bytes(self) -> int:
        entries = self.seen.entries.values() if self.seen is not None else ()
        return MISS_BYTES + sum(len(entry.canonical) + 2 * len(entry.completion.text) for entry in entries)


class CacheAside:
    """Looks up and puts. Belongs to one event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        served: ServedMemory,
        ledger: Ledger,
        forgotten: Forgotten,
        *,
        word_s: float = WORD_S,
    ) -> None:
        self.redactor = pipeline.redactor
        self._pipeline = pipeline
        self._served = served
        self._ledger = ledger
        self._forgotten = forgotten
        self._word_s = word_s
        self._misses: OrderedDict[str, _Miss] = OrderedDict()
        self._bytes = 0

    async def look_up(
        self,
        request: ChatRequest,
        tenant: str,
        salt: str,
        controls: Controls,
        policy: TenantPolicy = FREE,
        *,
        response_id: str,
    ) -> Found | Missed:
        """What is stored for `request`. Raises `GatewayError` or `BackendError`."""
        began, since = self._pipeline.begin(), self._forgotten.now()
        found = await self._pipeline.look_up(request, tenant, salt, controls, policy)
        is_forgotten = since.is_forgotten(tenant, controls.tags)
        if isinstance(found, Reply):
            self._ledger.looked_up(ROUTE, "hit", found.outcome.tier)
            if not is_forgotten:
                self._served.note(response_id, found.served)
                self._served.ended(response_id)
            return Found(response_id, found, is_forgotten)
        outcome = _missed(found)
        self._ledger.looked_up(ROUTE, "miss", outcome.reason)
        miss_id = f"lookup-{uuid.uuid4().hex}"
        if not is_forgotten:
            self._served.note(miss_id, served_of(found, outcome))
        seen = None if is_forgotten else found.seen
        self._remember(miss_id, _Miss(tenant, found.fp.exact, began, since, seen, time.perf_counter()))
        return Missed(miss_id, outcome)

    async def put(
        self,
        request: ChatRequest,
        tenant: str,
        salt: str,
        controls: Controls,
        completion: Completion,
        policy: TenantPolicy = FREE,
        *,
        lookup: str | None = None,
        elapsed_s: float | None = None,
    ) -> Kept:
        """Keep what the caller's own model answered; it is kept also when this is cancelled while the store has its
        turn. Raises `GatewayError` or `BackendError`."""
        began = self._pipeline.begin()
        asked = await self._pipeline.ask(request, tenant, salt, controls, policy, may_generate=False)
        miss = self._recall(lookup, asked) if lookup is not None else None
        if miss is not None:
            asked, began = replace(asked, seen=miss.seen), miss.began
            elapsed_s = time.perf_counter() - miss.at if elapsed_s is None else elapsed_s
        word = Word()
        refusal = self._keep(replace(asked, word=word), began, completion, elapsed_s or 0.0)
        if miss is not None and lookup is not None:
            self._answered(lookup, asked, miss.since, completion, elapsed_s or 0.0, is_kept=refusal is None)
        reason = await word.heard(self._word_s) if refusal is None else refusal
        entry = asked.fp.entry_id if reason in (COMPLETE, IN_MEMORY) else None
        return Kept(entry, reason, asked.plan.ttl_s, asked.rules.hit_details)

    def _keep(self, asked: Asked, began: Mark, completion: Completion, elapsed_s: float) -> str | None:
        """Why it is not kept; None when it is, at least in memory."""
        reason = misfit(asked.request, completion)
        if reason is None:
            return self._pipeline.keep(asked, began, completion, elapsed_s)
        self._ledger.looked_up("write", "refused", reason)
        return reason

    def _answered(
        self, lookup: str, asked: Asked, since: Since, completion: Completion, elapsed_s: float, *, is_kept: bool
    ) -> None:
        """The app's own generation stands in the ledger beside the hits, so their share is right."""
        outcome = Outcome("full", asked.plan.bypass or "miss", entry=asked.fp.entry_id if is_kept else None)
        is_forgotten = since.is_forgotten(asked.request.owner, asked.controls.tags)
        if not is_forgotten:
            self._served.note(lookup, replace(served_of(asked, outcome), made_after_s=time.time() - elapsed_s))
            self._served.ended(lookup)
        question = None if asked.controls.no_store or is_forgotten else head_of(question_of(asked.request))
        who = lookup, asked.request.owner, question
        self._ledger.record(Line(outcome, asked.request.model, ROUTE, completion.usage, elapsed_s, elapsed_s, *who))

    def _remember(self, miss_id: str, miss: _Miss) -> None:
        self._misses[miss_id] = miss
        self._bytes += miss.size_bytes
        while self._misses and (len(self._misses) > MAX_MISSES or self._bytes > MAX_BYTES or self._oldest_is_old):
            self._bytes -= self._misses.popitem(last=False)[1].size_bytes

    @property
    def _oldest_is_old(self) -> bool:
        return time.perf_counter() - next(iter(self._misses.values())).at > MAX_AGE_S

    def _recall(self, lookup: str, asked: Asked) -> _Miss | None:
        """The miss that a put answers, once. Raises `InvalidRequest` when it was of another request."""
        miss = self._misses.get(lookup)
        if miss is None or miss.tenant != asked.request.owner:
            return None
        if miss.exact != asked.fp.exact:
            raise InvalidRequest("lookup names a lookup of another request.", "lookup")
        del self._misses[lookup]
        self._bytes -= miss.size_bytes
        return miss


def _missed(asked: Asked) -> Outcome:
    is_shadowed = asked.seen is not None and asked.seen.verdict.action == "shadow"
    ended = "expired" if asked.was_stale else None
    return Outcome("full", asked.plan.bypass or ended or ("shadow" if is_shadowed else "miss"))
