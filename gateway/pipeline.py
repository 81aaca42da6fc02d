"""The road of one chat request: the file to read.

    plan        pure: may this be read and kept, and why not
    exact       the same request, from memory, then from the store
    semantic    the same question in other words, verified
    flight      identical requests share one generation; followers replay what is buffered, then tail it
    router      a backend generates; the local engine resumes from kept KV blocks
    recorder    inside the flight: an answer that ended by itself is kept

What comes back is a `Reply`: the ledger's `Outcome`, and one stream of `Delta` whose closing releases everything.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

from backends.chat import ChatRequest, Completion, Delta, Usage, replay
from backends.errors import BackendGarbage
from backends.router import Route, Router
from gateway.answers.base import Answers, CacheError, Entry, unembedded_of
from gateway.canonical import Fingerprints, fingerprints, question_of
from gateway.controls import Controls
from gateway.errors import NotCached
from gateway.flights import Flights
from gateway.ledger import Ledger
from gateway.outcome import Outcome
from gateway.policy import Plan, Rules, plan, refuse_to_keep, semantic_refusal
from gateway.recorder import Chores, tee
from gateway.scope import Scope
from gateway.semantic import Match, Semantic

PUTS_AT_ONCE = 1024  # of a burst of answers; the others wait their turn, so the store never refuses one


class NearAnswers(Answers, Protocol):
    """A store with memory in front of it: what is there can be had, and put, without waiting."""

    def get_now(self, scope: bytes, exact: bytes) -> Entry | None: ...

    def put_now(self, entry: Entry) -> None: ...


class Deltas:
    """The deltas of one reply: the first was waited for already. Close it, whether it was read or not."""

    def __init__(self, first: Delta | None, rest: AsyncGenerator[Delta, None]) -> None:
        self._first = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer about to be delivered."""

    outcome: Outcome
    deltas: Deltas


@dataclass(frozen=True)
class Asked:
    """One request with everything decided about it before any lookup."""

    request: ChatRequest
    route: Route
    fp: Fingerprints
    plan: Plan
    controls: Controls
    rules: Rules
    started: float  # perf_counter

    @cached_property
    def semantic_refusal(self) -> str | None:
        """Why other wordings are out of question. Reads the text, so it is asked only after an exact miss."""
        temperature = float(self.route.model.defaults.get("temperature", 1.0))
        return semantic_refusal(self.request, self._text, self.rules, temperature)

    @property
    def question(self) -> str | None:
        """The question, when other wordings of it may share its answer."""
        return self._text if self.semantic_refusal is None else None

    @cached_property
    def _text(self) -> str | None:
        return question_of(self.request)


class Pipeline:
    """Answers chat requests. Belongs to one event loop."""

    def __init__(
        self,
        *,
        secret: bytes,
        router: Router,
        answers: NearAnswers,
        semantic: Semantic | None,
        rules: Rules,
        ledger: Ledger,
    ) -> None:
        self._secret = secret
        self._router = router
        self._answers = answers
        self._semantic = semantic
        self._rules = rules
        self._ledger = ledger
        self._flights = Flights()
        self._chores = Chores()
        self._may_put = asyncio.Semaphore(PUTS_AT_ONCE)

    async def answer(self, request: ChatRequest, tenant: str, salt: str, controls: Controls) -> Reply:
        """Serve `request` from the first tier that can. Raises `GatewayError` or `BackendError`."""
        asked = await self._ask(request, tenant, salt, controls)
        if (hit := await self._stored(asked)) is not None:
            return hit
        if controls.only_if_cached:
            raise NotCached("Nothing stored answers this request, and only-if-cached was asked.", "Cache-Control")
        return await self._generate(asked)

    async def close(self) -> None:
        """Finish what is owed to the store."""
        await self._chores.finish()

    async def _ask(self, request: ChatRequest, tenant: str, salt: str, controls: Controls) -> Asked:
        started = time.perf_counter()
        route = await self._router.resolve(request.model)
        scope = Scope(tenant, request.model, route.model.revision, controls.namespace, salt)
        fp = fingerprints(self._secret, scope.digest(self._secret), request, route.model.defaults)
        wish = plan(controls, self._rules)
        request = replace(request, kv_salt=scope.kv_salt(self._secret), use_kv=wish.use_kv, publish_kv=wish.publish_kv)
        return Asked(request, route, fp, wish, controls, self._rules, started)

    # -- stored answers ------------------------------------------------------------------------------------------

    async def _stored(self, asked: Asked) -> Reply | None:
        if self._flights.find(asked.fp.exact) is not None and asked.plan.share_flight:
            return None  # it is being answered right now: ride along
        if asked.plan.read_exact and (entry := await self._exact(asked)) is not None:
            return self._replayed(asked, entry, "exact", None)
        if asked.plan.read_semantic and (match := await self._similar(asked)) is not None:
            return self._replayed(asked, match.entry, "semantic", match.similarity)
        return None

    async def _exact(self, asked: Asked) -> Entry | None:
        fp, entry = asked.fp, None
        with self._ledger.best_effort("exact_read"):
            entry = self._answers.get_now(fp.scope, fp.exact) or await self._answers.get(fp.scope, fp.exact)
        miss = self._exact_miss(asked, entry)
        self._ledger.looked_up("exact", "miss" if miss else "hit", miss or "same_request")
        return None if miss else entry

    def _exact_miss(self, asked: Asked, entry: Entry | None) -> str | None:
        """Why what lies under the key may not be served; the key alone is not trusted."""
        if entry is None:
            return "absent"
        if entry.canonical != asked.fp.canonical:
            return "collision"
        return None if self._is_usable(entry, asked.controls) else "expired"

    async def _similar(self, asked: Asked) -> Match | None:
        if self._semantic is None:
            return None
        if asked.question is None:
            self._ledger.looked_up("semantic", "refused", asked.semantic_refusal or "no_question")
            return None
        found = None
        with self._ledger.best_effort("semantic_read"):
            found = await self._semantic.find(
                asked.fp,
                asked.question,
                min_similarity=asked.plan.min_similarity,
                is_usable=partial(self._is_usable, controls=asked.controls),
            )
        if isinstance(found, Match):
            self._ledger.looked_up("semantic", "hit", "same_question")
            return found
        self._ledger.looked_up("semantic", "miss", found.reason if found else "failed")
        return None

    def _is_usable(self, entry: Entry, controls: Controls) -> bool:
        now_s = time.time()
        if controls.max_age_s is not None and entry.age_s(now_s) > controls.max_age_s:
            return False
        return entry.is_fresh(now_s - controls.stale_s)

    def _replayed(self, asked: Asked, entry: Entry, tier: str, similarity: float | None) -> Reply:
        now_s = time.time()
        is_stale = not entry.is_fresh(now_s)
        if is_stale:
            self._refresh(asked)
        self._chores.add(self._count_hit(entry.id))
        usage = entry.completion.usage
        outcome = Outcome(
            tier="exact" if tier == "exact" else "semantic",
            reason="stale" if is_stale else "same_request" if tier == "exact" else "same_question",
            entry=entry.id,
            similarity=similarity,
            age_s=entry.age_s(now_s),
            ttl_s=None if entry.expires_s is None else entry.expires_s - now_s,
            saved_tokens=usage.prompt_tokens + usage.completion_tokens,
            saved_s=entry.elapsed_s,
            overhead_s=time.perf_counter() - asked.started,
        )
        return Reply(outcome, Deltas(None, _spoken(replay(entry.completion))))

    def _refresh(self, asked: Asked) -> None:
        """Answer anew in the background, once, while the stale answer is served."""
        if self._flights.find(asked.fp.exact) is None and asked.plan.share_flight:
            flight = self._flights.start(asked.fp.exact, partial(self._recorded, asked))
            self._chores.add(_drain(flight.ride()))

    # -- generation ----------------------------------------------------------------------------------------------

    async def _generate(self, asked: Asked) -> Reply:
        overhead_s = time.perf_counter() - asked.started
        rides_along = False
        if asked.plan.share_flight:
            flight = self._flights.find(asked.fp.exact)
            rides_along = flight is not None
            if flight is None:
                # an identical answer may have landed while the other tiers were asked
                landed = self._answers.get_now(asked.fp.scope, asked.fp.exact)
                if landed is not None and self._exact_miss(asked, landed) is None:
                    return self._replayed(asked, landed, "exact", None)
                flight = self._flights.start(asked.fp.exact, partial(self._recorded, asked))
            deltas = flight.ride()
        else:
            deltas = self._recorded(asked)
        first = await anext(deltas, None)
        if first is None:
            raise BackendGarbage("The backend ended without an answer.")
        return Reply(_generated(asked, first.usage, rides_along, overhead_s), Deltas(first, deltas))

    def _recorded(self, asked: Asked) -> AsyncGenerator[Delta, None]:
        deltas = self._router.stream(asked.route, asked.request)
        return tee(deltas, partial(self._keep, asked)) if asked.plan.write else deltas

    def _keep(self, asked: Asked, completion: Completion, elapsed_s: float) -> None:
        """Make the answer available at once; the store and the index hear of it behind the answer's back."""
        refusal = refuse_to_keep(completion)
        self._ledger.looked_up("write", "refused" if refusal else "kept", refusal or "complete")
        if refusal is not None:
            return
        now_s = time.time()
        entry = Entry(
            id=asked.fp.entry_id,
            scope=asked.fp.scope,
            exact=asked.fp.exact,
            compat=asked.fp.compat,
            canonical=asked.fp.canonical,
            question=asked.question if asked.plan.remember_question else None,
            model=asked.request.model,
            completion=completion,
            created_s=now_s,
            expires_s=None if asked.plan.ttl_s is None else now_s + asked.plan.ttl_s,
            elapsed_s=elapsed_s,
            tags=asked.controls.tags,
        )
        with self._ledger.best_effort("exact_write"):
            self._answers.put_now(entry)
        with self._ledger.best_effort("write_back"):
            if not self._chores.add(self._write_back(entry)):
                raise CacheError(f"{len(self._chores)} answers wait for the store already")

    async def _count_hit(self, entry_id: str) -> None:
        with self._ledger.best_effort("count_hit"):
            await self._answers.count_hit(entry_id)

    async def _write_back(self, entry: Entry) -> None:
        async with self._may_put:
            with self._ledger.best_effort("exact_write"):
                await self._answers.put(entry)
        question = unembedded_of(entry)
        del entry  # its vector may be long in coming, and needs the question alone
        if self._semantic is not None and question is not None:
            with self._ledger.best_effort("embed"):
                await self._semantic.learn(question)


def _generated(asked: Asked, usage: Usage | None, rides_along: bool, overhead_s: float) -> Outcome:
    """The ledger's line for an answer that is only now being made."""
    if rides_along:
        return Outcome("exact", "in_flight", is_shared=True, entry=asked.fp.entry_id, overhead_s=overhead_s)
    cached_tokens = usage.cached_tokens if usage is not None else 0
    return Outcome(
        tier="kv" if cached_tokens > 0 else "full",
        reason="prefix" if cached_tokens > 0 else asked.plan.reason,
        entry=asked.fp.entry_id if asked.plan.write else None,
        saved_tokens=cached_tokens,
        overhead_s=overhead_s,
    )


async def _spoken(deltas: Iterator[Delta]) -> AsyncGenerator[Delta, None]:
    for delta in deltas:
        yield delta


async def _drain(deltas: AsyncGenerator[Delta, None]) -> None:
    async for _ in deltas:
        pass
