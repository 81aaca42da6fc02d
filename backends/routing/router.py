"""The road below the cache: a model's name becomes a route, a route becomes one stream of deltas.

    resolve   alias -> the conversation's target and its fallbacks -> who serves each of them     (aliases, replicas)
    stream    for each model of the route
                  among its replicas, by a policy                                                  (base, policies)
                  one that fails before its first delta: the next replica                         (failures)
                  all have failed: once more after a pause, where that can help                   (tenacity; budget)
              after the first delta nothing is asked again

Who answered instead of the model asked for is said in the first delta's `fallback`.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any
from urllib.parse import quote

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from backends.base import AnyModelBackend, Backend, Health, Model
from backends.chat import ChatRequest, Delta, Fields, Usage
from backends.errors import BackendError, BackendGarbage, BackendNotReady, RequestRejected
from backends.routing.aliases import Alias, chain
from backends.routing.base import Choice, Chooser, Load
from backends.routing.budget import RetryBudget
from backends.routing.counters import Counters
from backends.routing.failures import has_lost_memory, may_go_elsewhere, may_repeat
from backends.routing.member import EVERY_NAME, FULL, Member, MemberRule
from backends.routing.policies import make_chooser
from backends.routing.prompt import Prompt, prompt_of
from backends.routing.replicas import Replicas, candidates, replicas

CHECK_S = 5.0  # a health check may take so long
MAX_CHOOSERS = 256  # models with a memory of who holds which prefix

log = logging.getLogger(__name__)


class UnknownModel(RequestRejected):
    """No backend serves this name."""

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {model!r} does not exist.", param="model", code="model_not_found", status=404)


@dataclass(frozen=True, slots=True)
class Step:
    """A model of a route, and who serves it now."""

    model: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers: the first step as `model`; the others only when it cannot."""

    model: Model
    steps: tuple[Step, ...]

    @property
    def backend(self) -> Backend | None:
        """Who is the first to serve it; None when only a fallback can."""
        return self.steps[0].members[0].backend if self.steps[0].members else None


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How a backend that did not take a request is asked again."""

    times: int = 1
    first_s: float = 0.2  # the pause is anything up to this, doubling
    max_wait_s: float = 0.0  # the longest Retry-After that is waited for


@dataclass(slots=True)
class _Answering:
    """A stream whose first delta is here."""

    first: Delta
    deltas: AsyncGenerator[Delta, None]


@dataclass(slots=True)
class _Try:
    """One step of one request on its way."""

    step: Step
    request: ChatRequest
    failures: dict[Member, BackendError] = field(default_factory=dict)
    last: BackendError | None = None
    prompt: Prompt | None = None


class Router:
    """Owns the backends. `backends` are found by the names they serve; any other name goes to `default`."""

    def __init__(
        self,
        backends: Sequence[Backend | Member],
        default: AnyModelBackend | None = None,
        *,
        aliases: Sequence[Alias] = (),
        policy: str = "affinity",
        retry: RetryRule | None = None,
        budget: RetryBudget | None = None,
        rule: MemberRule | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`rule`: of backends that come without one, now and later."""
        self._rule = rule or MemberRule()
        self._members = [
            backend if isinstance(backend, Member) else Member(backend, self._rule) for backend in backends
        ]
        if default is not None:
            self._members.append(Member(default, MemberRule(names=(EVERY_NAME,))))
        self._aliases = {alias.name: alias for alias in aliases}
        self._policy = policy
        self._retry = retry or RetryRule()
        self._sleep = sleep
        self._jitter = wait_random_exponential(multiplier=self._retry.first_s, min=self._retry.first_s / 4, max=5.0)
        self._choosers: OrderedDict[str, Chooser] = OrderedDict()
        self._counters = Counters()
        self._watching: asyncio.Task[None] | None = None
        self._warned: set[tuple[str, str]] = set()
        self.budget = budget or RetryBudget()
        self.failovers = 0  # to another replica
        self.fallbacks: Counter[tuple[str, str]] = Counter()  # (model of the route, who answered instead)

    # -- the backends --------------------------------------------------------------------------------------------

    @property
    def members(self) -> Sequence[Member]:
        return tuple(self._members)

    async def open(self) -> None:
        """Open every backend, or none; watch those that are to be watched."""
        async with AsyncExitStack() as opened:
            for member in self.members:
                await member.backend.open()
                opened.push_async_callback(member.backend.close)
            opened.pop_all()
        if any(rule.watch is not None for rule in (self._rule, *(member.rule for member in self._members))):
            self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Close every backend, even when closing one fails."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        async with AsyncExitStack() as closing:
            for member in self.members:
                closing.push_async_callback(member.backend.close)

    def add(self, backend: Backend) -> None:
        """Serve the names of a backend that is open, from now on."""
        self._members.append(Member(backend, self._rule))

    def remove(self, backend: Backend) -> None:
        """Resolve to this backend no more; whoever removes it drains and closes it."""
        self._members.remove(next(member for member in self._members if member.backend is backend))
        self._forget(backend.name)

    def member(self, name: str) -> Member | None:
        """The backend of this name."""
        return next((member for member in self._members if member.name == name), None)

    async def models(self) -> Sequence[Model]:
        """Every model served, by the first backend that has the name; then the aliases."""
        lists = await asyncio.gather(*(_listed(member) for member in self.members))
        by_name: dict[str, Model] = {}
        for served in lists:
            for model in served:
                by_name.setdefault(model.name, model)
        for name in self._aliases:
            by_name.setdefault(name, Model(name, revision=""))
        return list(by_name.values())

    async def health(self) -> Mapping[str, Health]:
        """The health of every backend, by name; one that takes nothing now is not ready."""
        members = self.members
        healths = await asyncio.gather(*(member.backend.health() for member in members))
        return {member.name: _ruled(member, health) for member, health in zip(members, healths, strict=True)}

    def report(self) -> dict[str, Any]:
        """What the admin API and metrics tell."""
        return {
            "backends": [member.report() for member in self._members],
            "aliases": [
                {
                    "name": alias.name,
                    "targets": {target.model: target.weight for target in alias.targets},
                    "fallback": list(alias.fallback),
                }
                for alias in self._aliases.values()
            ],
            "policy": self._policy,
            "failovers": self.failovers,
            "fallbacks": [{"model": m, "answered_by": by, "times": n} for (m, by), n in self.fallbacks.items()],
            "retry_budget": {"left": round(self.budget.left, 1), "refused": self.budget.refused},
        }

    # -- from a name to a route ----------------------------------------------------------------------------------

    async def resolve(self, model: str, messages: Sequence[Fields] = ()) -> Route:
        """The route of a model name; an alias's hangs on how the conversation began. Raises `UnknownModel`, and
        `BackendNotReady` while a backend that might serve it has not said what it serves.
        """
        alias = self._aliases.get(model)
        if alias is None:
            found = await self._find(model)
            if found is None:
                raise self._unknown(model)
            return Route(found.model, (Step(model, found.members),))
        names = chain(alias, messages)
        each = [await self._find(name) for name in names]
        if not any(each):
            raise self._unknown(model)
        steps = tuple(Step(name, found.members if found else ()) for name, found in zip(names, each, strict=True))
        target = each[0].model if each[0] is not None else Model(names[0], "unknown")
        if target.name != model:  # targets of an alias share nothing; a model that only got a fallback is what it was
            target = replace(target, revision=f"{quote(target.name)}@{target.revision}")
        return Route(target, steps)

    async def _find(self, name: str) -> Replicas | None:
        """Who serves a model: who lists it, else who takes any name."""
        serving: list[tuple[Member, Model]] = []
        silent = [member for member in self._members if member.is_silent]
        for member in self.members:  # they may change while one is asked
            if member not in silent:  # it may be long in answering, and this model another's
                serving += await _serves(member, name)
        if not serving and silent:
            serving = [found for each in await asyncio.gather(*(_serves(m, name) for m in silent)) for found in each]
        if not serving:
            serving = [(member, member.model(name)) for member in self._members if member.takes_any]
        if not serving:
            return None
        found = replicas(serving)
        for stranger in found.strangers:
            self._warn(name, stranger.name)
        return found

    def _unknown(self, model: str) -> BackendError:
        silent = [member.name for member in self._members if member.is_silent]
        if silent:
            return BackendNotReady(f"Nobody is known to serve {model!r}, and {silent[0]} has not said what it serves")
        return UnknownModel(model)

    def _warn(self, model: str, backend: str) -> None:
        if (model, backend) not in self._warned:
            self._warned.add((model, backend))
            log.warning(
                "%s serves another revision of %s than the backends before it, and is not asked", backend, model
            )

    # -- one request ---------------------------------------------------------------------------------------------

    async def stream(self, route: Route, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Generate on the route. Nothing is asked again after the first delta."""
        answering = await self._begin(route, request)
        async with aclosing(answering.deltas) as deltas:
            yield answering.first
            async for delta in deltas:
                yield delta

    async def _begin(self, route: Route, request: ChatRequest) -> _Answering:
        """The first delta of whoever can answer. Raises what the model of the route failed with."""
        self.budget.earn()
        failure: BackendError | None = None
        for step in route.steps:
            try:
                answering = await self._ask(step, replace(request, model=step.model))
            except BackendError as error:
                if failure is None and (len(route.steps) == 1 or not may_go_elsewhere(error)):
                    raise
                failure = failure or error
                continue
            if failure is not None:
                self.fallbacks[route.steps[0].model, step.model] += 1
                log.warning("%s answers for %s: %s", step.model, route.steps[0].model, failure)
                answering.first = replace(answering.first, fallback=step.model)
            return answering
        assert failure is not None, "a route has a step"
        raise failure

    async def _ask(self, step: Step, request: ChatRequest) -> _Answering:
        """The first delta of one model: all its replicas in turn, and again where a moment may help."""
        one = _Try(step, request)
        longest_s = self._retry.max_wait_s

        def may_again(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome is not None else None
            is_ours = isinstance(error, BackendError) and may_go_elsewhere(error)
            return is_ours and any(may_repeat(failure, longest_s) for failure in one.failures.values())

        def must_stop(state: RetryCallState) -> bool:
            return state.attempt_number > self._retry.times or not self.budget.take()

        def pause_s(state: RetryCallState) -> float:
            repeatable = [failure for failure in one.failures.values() if may_repeat(failure, longest_s)]
            return self._jitter(state) + min(failure.retry_after_s or 0.0 for failure in repeatable)

        retrying = AsyncRetrying(retry=may_again, stop=must_stop, wait=pause_s, sleep=self._sleep, reraise=True)
        answering: _Answering = await retrying(self._round, one)
        return answering

    async def _round(self, one: _Try) -> _Answering:
        """Every replica that may answer, once. Raises what the last one failed with."""
        for member, failure in tuple(one.failures.items()):
            if may_repeat(failure, self._retry.max_wait_s):
                member.retries += 1
                del one.failures[member]
        is_second = False
        while True:
            left, rank = candidates([member for member in one.step.members if member not in one.failures])
            # one may always go to a backend that nothing speaks against; to try the others makes an outage worse
            if not left or (is_second and (rank == FULL or (rank > 0 and not self.budget.take()))):
                raise one.last or _nobody(one)
            self.failovers += is_second
            member, choice = self._choose(one, left)
            try:
                return await self._first_of(member, choice, one)
            except BackendError as error:
                one.failures[member] = one.last = error
                is_second = True
                if has_lost_memory(error):
                    self._forget(member.name)
                if not may_go_elsewhere(error):
                    raise

    async def _first_of(self, member: Member, choice: Choice | None, one: _Try) -> _Answering:
        deltas = self._counted(member, choice, one)
        first = await anext(deltas, None)
        if first is None:
            raise BackendGarbage(f"{member.name} ended without an answer")
        return _Answering(first, deltas)

    async def _counted(self, member: Member, choice: Choice | None, one: _Try) -> AsyncGenerator[Delta, None]:
        """What a backend says; the policy hears how much of the prompt it had kept."""
        usage: Usage | None = None
        held = choice.predicted_tokens if choice is not None else 0
        tokens = max(0, one.prompt.num_tokens - held) if one.prompt is not None else 0
        async with aclosing(member.stream(one.request)) as deltas:
            with self._counters.sent(member.name, tokens) as sent:
                async for delta in deltas:
                    sent.answering()
                    usage = delta.usage or usage
                    yield delta
        if choice is not None and one.prompt is not None and usage is not None:
            chooser = self._chooser(one.step.model)
            chooser.heard(choice, one.prompt, _cached(usage), usage.prompt_tokens)

    # -- which replica -------------------------------------------------------------------------------------------

    def _choose(self, one: _Try, left: Sequence[Member]) -> tuple[Member, Choice | None]:
        if len(one.step.members) == 1:
            return left[0], None
        if one.prompt is None:
            one.prompt = prompt_of(one.request)
        most = max(member.weight for member in left)
        loads = [_weighted(self._load(member), most / member.weight) for member in left]
        choice = self._chooser(one.step.model).choose(one.prompt, loads)
        return next(member for member in left if member.name == choice.replica), choice

    def _load(self, member: Member) -> Load:
        load = self._counters.load(member.name, member.gate.waiting)
        return replace(load, running=max(0, load.running - member.gate.waiting))

    def _chooser(self, model: str) -> Chooser:
        chooser = self._choosers.get(model)
        if chooser is None:
            chooser = self._choosers[model] = make_chooser(self._policy)
            if len(self._choosers) > MAX_CHOOSERS:
                self._choosers.popitem(last=False)
        self._choosers.move_to_end(model)
        return chooser

    def _forget(self, backend: str) -> None:
        for chooser in self._choosers.values():
            chooser.reset(backend)

    # -- health --------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ask backends for their health and their models, for ever."""
        while True:
            due = [member for member in self._members if member.is_due()]
            for result in await asyncio.gather(*map(self._look, due), return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("a backend could not be looked at: %s", result, exc_info=result)
            every_s = [member.rule.watch.every_s for member in self._members if member.rule.watch is not None]
            await asyncio.sleep(min(every_s, default=1.0))

    async def _look(self, member: Member) -> None:
        if await member.check(CHECK_S):
            log.warning("%s is down: %s", member.name, member.watch.detail)
            self._forget(member.name)
        if member.watch.is_up and not member.rule.names:
            await member.ask_models()


def _nobody(one: _Try) -> BackendError:
    """Why nobody could even be asked: the one that may be soonest says it."""
    refusals = [member.refusal() for member in one.step.members if member not in one.failures]
    if not refusals:
        return BackendNotReady(f"No backend serves {one.step.model!r} now")
    return min(refusals, key=lambda refusal: refusal.retry_after_s or float("inf"))


def _weighted(load: Load, lightness: float) -> Load:
    """The load as it weighs on a backend that is so many times weaker than the strongest."""
    if lightness == 1:
        return load
    return replace(
        load,
        running=ceil(load.running * lightness),
        waiting=ceil(load.waiting * lightness),
        prefill_tokens=ceil(load.prefill_tokens * lightness),
        decodes=ceil(load.decodes * lightness),
    )


def _cached(usage: Usage) -> int | None:
    """The cached tokens a backend reported; None when it says nothing of them."""
    details = usage.extra.get("prompt_tokens_details") or {}
    return usage.cached_tokens if usage.cached_tokens or "cached_tokens" in details else None


def _ruled(member: Member, health: Health) -> Health:
    """The health of a backend, seen with what is decided about it."""
    if member.state in ("draining", "drained", "open"):
        return Health(False, member.state if member.state != "open" else "left alone: it failed too often")
    return health


async def _serves(member: Member, name: str) -> list[tuple[Member, Model]]:
    return [(member, model) for model in await member.models() if model.name == name][:1]


async def _listed(member: Member) -> Sequence[Model]:
    """What a backend says it serves; one that takes any name may list some all the same."""
    return await member.backend.models() if member.takes_any else await member.models()
