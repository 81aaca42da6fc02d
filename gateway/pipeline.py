"""The road of one chat request: the file to read.

    plan        pure: may this be read and kept, and why not
    exact       the same request, from memory, then from the store
    commons     what enough other tenants asked in these very words, where the operator has them share it
    semantic    the same question in other words, as sure as the operator wants it; a near miss goes down as a draft
    flight      identical requests share one generation; followers replay what is buffered, then tail it
    router      a backend generates; the local engine resumes from kept KV blocks
    recorder    inside the flight: an answer that ended by itself is kept, and compared with near ones

What comes back is a `Reply`: the ledger's `Outcome`, and one stream of `Delta` whose closing releases everything.
"""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from backends.base import Model
from backends.chat import ChatRequest, Completion, Delta, Fields
from backends.errors import BackendError, BackendGarbage
from backends.routing.asking import Step
from backends.routing.router import Route, Router, UnknownModel
from gateway.answers.base import PUT, REFRESH, Entry, Mark, NearAnswers
from gateway.asked import Asked
from gateway.commons.commons import Commons
from gateway.commons.padding import Paces, padded
from gateway.commons.rule import is_shared
from gateway.controls import Controls
from gateway.errors import NotCached
from gateway.flights import Flight, Flights
from gateway.identity.canonical import fingerprints
from gateway.identity.scope import Scope
from gateway.ledger import Ledger
from gateway.native import as_spoken, changes_something
from gateway.normalise.request import Normaliser
from gateway.policy import Rules, plan
from gateway.prefixes.watch import PrefixWatch
from gateway.quota.policies import FREE, TenantPolicy
from gateway.quota.tab import Tab, metered
from gateway.recorder import Recorder, tee
from gateway.redaction import KEEPS_ALL, REASON, Redactor
from gateway.reply import Deltas, Reply, generated, served_of, stored
from gateway.semantic.found import Match
from gateway.shelves import Shelves

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic
    from gateway.shared.flights.leading import Term
    from gateway.shared.flights.shared import SharedFlight, SharedFlights

log = logging.getLogger(__name__)

MOST_SCOPES = 1024  # whose digests are remembered


class Pipeline:
    """Answers chat requests. Belongs to one event loop."""

    def __init__(
        self,
        *,
        secret: bytes,
        router: Router,
        answers: NearAnswers,
        semantic: "Semantic | None",
        rules: Rules,
        ledger: Ledger,
        sharing: "SharedFlights | None" = None,
        normaliser: Normaliser | None = None,
        prefixes: PrefixWatch | None = None,
        commons: Commons | None = None,
        check_memory: Callable[[], None] = lambda: None,
        flush_s: float = 10.0,
        redactor: Redactor = KEEPS_ALL,
    ) -> None:
        self._secret = secret
        self._router = router
        self._answers = answers
        self._semantic = semantic
        self._rules = rules
        self._ledger = ledger
        self._flights = Flights()
        self._sharing = sharing
        self._normaliser = normaliser or Normaliser()
        self._prefixes = prefixes
        self._commons = commons
        self._paces = Paces()
        self._flush_s = flush_s  # how long a stop waits for writes
        self._check_memory = check_memory  # raises when there is too little of it for one more generation
        self.redactor = redactor
        self._digests = lru_cache(maxsize=MOST_SCOPES)(partial(_digests, secret))
        self.shelves = Shelves(answers, semantic, commons, rules, ledger)
        self._recorder = Recorder(answers, semantic, ledger, commons, redactor)

    async def answer(
        self,
        request: ChatRequest,
        tenant: str,
        salt: str,
        controls: Controls,
        policy: TenantPolicy = FREE,
        tab: Tab | None = None,
        began: Mark | None = None,
    ) -> Reply:
        """Serve `request` from the first tier that can. `began`: when it came, if it has waited since. Raises
        `GatewayError` or `BackendError`."""
        asked = await self.ask(request, tenant, salt, controls, policy, tab=tab, began=began or self.begin())
        self._normaliser.count(asked.normal)
        found = await self._stored(asked)
        if isinstance(found, Reply):
            return found
        if controls.only_if_cached:
            raise NotCached("Nothing stored answers this request, and only-if-cached was asked.", "Cache-Control")
        return await self._generate(found)

    async def look_up(
        self, request: ChatRequest, tenant: str, salt: str, controls: Controls, policy: TenantPolicy = FREE
    ) -> Reply | Asked:
        """What is stored for `request`, else what was asked. Nothing is generated, not behind the answer's back either.
        Raises `GatewayError` or `BackendError`."""
        asked = await self.ask(request, tenant, salt, controls, policy, may_generate=False)
        self._normaliser.count(asked.normal)
        return await self._stored(asked)

    def begin(self) -> Mark:
        """Names this moment, for an answer that somebody else begins to make."""
        return self._answers.begin()

    def keep(self, asked: Asked, began: Mark, completion: Completion, elapsed_s: float) -> str | None:
        """Keep what somebody else answered; why not, when it is not kept."""
        if not asked.plan.write:
            reason = "tiers_off" if asked.plan.bypass == "tiers_off" else "no_store"
            reason = REASON if asked.controls.is_redacted else reason
            self._ledger.looked_up("write", "refused", reason)
            return reason
        return self._recorder.keep(replace(asked, origin=PUT), began, completion, elapsed_s)

    def count_hits(self, served: Iterable[tuple[Entry, int, float | None]]) -> None:
        """Note that entries were served, how often, and how long each may live at most: outside of this road."""
        self._recorder.count_hits(served)

    async def close(self) -> None:
        """Finish what is owed to the store."""
        await self._recorder.finish(self._flush_s)

    async def ask(
        self,
        request: ChatRequest,
        tenant: str,
        salt: str,
        controls: Controls,
        policy: TenantPolicy = FREE,
        *,
        may_generate: bool = True,
        tab: Tab | None = None,
        began: Mark | None = None,
    ) -> Asked:
        """What is decided about a request before any lookup. Raises `GatewayError` or `BackendError`."""
        started = time.perf_counter()
        controls = self.redactor.over(request, controls)
        if controls.is_redacted and may_generate:
            self._ledger.looked_up("write", "refused", REASON)
        normal = self._normaliser.of(request, tenant, controls.namespace)
        route = await self._route(request.model, normal.keyed.messages, may_generate)
        if request.native is not None:
            keyed, sent = (as_spoken(one, route.model) for one in (normal.keyed, normal.sent))
            normal = replace(normal, keyed=keyed, sent=sent)
            if changes_something(keyed):
                controls = replace(controls, no_cache=True, no_store=True)
        scope = Scope(tenant, request.model, route.model.revision, controls.namespace, salt)
        digest, kv_salt = self._digests(scope)
        fp = fingerprints(self._secret, digest, normal.keyed, route.model.defaults)
        rules = self._rules.of(tenant, request.model, controls.namespace)
        if self._semantic is not None:
            rules = self._semantic.changes.ruled(tenant, rules)
        rules = policy.over(rules)
        wish = plan(controls, rules, has_deadline=request.params.get("timeout") is not None)
        if normal.is_key_apart:  # who rides along would get what was said to another prompt
            wish = replace(wish, share_flight=False)
        request = replace(normal.sent, kv_salt=kv_salt, owner=tenant, use_kv=wish.use_kv, publish_kv=wish.publish_kv)
        asked = Asked(
            request=request,
            route=route,
            fp=fp,
            plan=wish,
            controls=controls,
            rules=rules,
            started=started,
            normal=normal,
            policy=policy,
            may_generate=may_generate,
            tab=tab,
            began=began,
        )
        return asked if self._commons is None else self._commons.placed(asked, salt)

    async def _route(self, model: str, messages: Sequence[Fields], may_generate: bool) -> Route:
        """Who answers. A model that somebody else asks need not be known here."""
        try:
            return await self._router.resolve(model, messages)
        except UnknownModel:
            if may_generate:
                raise
            return Route(Model(model, revision=""), Step(model, ()))

    # -- stored answers ------------------------------------------------------------------------------------------

    async def _stored(self, asked: Asked) -> Reply | Asked:
        """A stored answer that may be served; else what is asked, with one to draft from if there is a near one."""
        if asked.plan.read_exact:
            entry, miss = await self.shelves.exact(asked)
            if entry is not None and miss is None:
                return self._replayed(asked, entry)
            if entry is not None and miss == "expired":
                asked = asked.stale(entry.completion.text)
            if (common := await self.shelves.common(asked)) is not None:
                return asked.slowly(common) if asked.is_padded else self._replayed(asked, common)
        if asked.may_generate and asked.plan.share_flight and self._in_the_air(asked) is not None:
            return asked  # it is being answered right now: ride along
        if asked.plan.read_semantic:
            found = await self.shelves.similar(asked)
            if isinstance(found, Match):
                is_slow = asked.is_padded and is_shared(found.entry)
                return asked.slowly(found.entry) if is_slow else self._replayed(asked, found.entry, found)
            asked = replace(asked.near(found.near_answer), seen=found.seen)
        return asked

    def _replayed(self, asked: Asked, entry: Entry, match: Match | None = None) -> Reply:
        self._recorder.count_hit(asked, entry)
        if asked.may_generate and not entry.is_fresh(time.time()):
            self._refresh(asked.near(entry.completion.text))
        return stored(asked, entry, match)

    def _refresh(self, asked: Asked) -> None:
        """Answer anew in the background, once, while the stale answer is served."""
        landed = self._answers.get_now(asked.fp.scope, asked.fp.exact)
        if landed is not None and landed.is_fresh(time.time()):
            return  # somebody else's refresh came in while this one was looking
        if not asked.plan.write:
            return
        asked, may_share = replace(asked, origin=REFRESH, tab=None, began=None), asked.plan.share_flight
        name = asked.fp.exact if may_share else b"alone" + asked.fp.exact  # that one nobody boards
        if self._flights.find(name) is None:
            source = (self._shared(asked) if may_share else None) or partial(self._recorded, asked)
            self._recorder.lessons.add(_drain(self._flights.start(name, source, self._answers.begin()).ride()))

    # -- generation ----------------------------------------------------------------------------------------------

    async def _generate(self, asked: Asked) -> Reply:
        overhead_s = time.perf_counter() - asked.started
        rides_along, shared = False, None
        if asked.plan.share_flight:
            flight = self._in_the_air(asked)
            rides_along = flight is not None
            if flight is None:
                # an identical answer may have landed while the other tiers were asked
                landed = self._answers.get_now(asked.fp.scope, asked.fp.exact)
                if landed is not None and self.shelves.exact_miss(asked, landed) is None:
                    return self._replayed(asked, landed)
                self._check_memory()
                shared = self._shared(asked)
                flight = self._start(asked, shared)
                if shared is not None:
                    shared.flight = flight
            deltas = flight.ride(is_patient=self._sharing is not None and not asked.request.stream)
        else:
            self._check_memory()
            deltas = self._recorded(asked)
        first = await anext(deltas, None)
        if first is None:
            raise BackendGarbage("The backend ended without an answer.")
        rides_along = rides_along or (shared is not None and shared.is_elsewhere)
        outcome = generated(asked, first, rides_along, overhead_s)
        if asked.common is not None and not rides_along:
            self._recorder.count_hit(asked, asked.common)
        return Reply(outcome, Deltas(first, deltas), served_of(asked, outcome))

    def _in_the_air(self, asked: Asked) -> Flight | None:
        """The generation of the same, unless something was removed since it began that its answer may be."""
        flight = self._flights.find(asked.fp.exact)
        if flight is None or flight.began is None:
            return flight
        return None if self._answers.is_overtaken(flight.began, asked.fp.entry_id) else flight

    def _start(self, asked: Asked, shared: "SharedFlight | None") -> Flight:
        source = shared or partial(self._recorded, asked)
        return self._flights.start(asked.fp.exact, source, self._answers.begin())

    def _shared(self, asked: Asked) -> "SharedFlight | None":
        """The same generation shared with other gateways; None where there are none.

        It goes by the newest removal, too: who asks after one does not join what began before it.
        """
        if self._sharing is None:
            return None
        return self._sharing.flight(
            asked.fp.exact + self._answers.begin().there,
            partial(self._recorded, asked),
            waited_s=time.perf_counter() - asked.started,
        )

    def _recorded(self, asked: Asked, term: "Term | None" = None) -> AsyncGenerator[Delta, None]:
        """Generate, and keep the answer; under a lease, only if that is ours to the end."""
        if asked.common is not None:
            answer = asked.common.completion
            due = partial(self._paces.due, asked.request.model, answer.usage, asked.common.elapsed_s)
            deltas = padded(answer, due, asked.started)
        else:
            if self._prefixes is not None and asked.plan.publish_kv:
                self._prefixes.saw(asked.request)
            deltas = self._router.stream(asked.route, asked.request)
            if asked.is_padded:
                deltas = self._paces.watched(asked.request.model, deltas, asked.started)
        if asked.tab is not None:
            deltas = metered(deltas, asked.request, asked.tab)
        if not asked.plan.write:
            return deltas
        keep = partial(self._recorder.keep, asked, asked.began or self._answers.begin())
        return tee(deltas, keep) if term is None else tee(term.ending(deltas), term.keeping(keep))


def _digests(secret: bytes, scope: Scope) -> tuple[bytes, str]:
    """What its answers and its KV chains are kept under."""
    return scope.digest(secret), scope.kv_salt(secret)


async def _drain(deltas: AsyncGenerator[Delta, None]) -> None:
    """Read to the end. A refresh that fails leaves the stale answer as it was."""
    try:
        async for _ in deltas:
            pass
    except BackendError as error:
        log.warning("a stale answer could not be refreshed: %s", error)
