"""The road below the cache: a model's name becomes a route, a route becomes one stream of deltas.

    resolve   alias -> the conversation's target and its fallbacks      (aliases.py: pure)
              each of them -> the backends that serve it                (fleet.py, replicas.py)
    stream    the models of the route in turn                           (here)
              the replicas of a model in turn, and again after a pause  (asking.py)
              one of the replicas, by a policy                          (dispatch.py, policies.py)
              queue, circuit breaker, backend                           (member.py: gate.py, breaker.py)

After the first delta nothing is asked again. Who answered instead of the model asked for is said in the first delta's
`fallback`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from backends.base import AnyModelBackend, Backend, Health, Model
from backends.chat import ChatRequest, Delta, Fields
from backends.errors import BackendError, BackendNotReady, RequestRejected
from backends.routing.aliases import Alias, chain
from backends.routing.asking import Answering, Asking, RetryRule, Step
from backends.routing.budget import RetryBudget
from backends.routing.dispatch import Dispatch
from backends.routing.failures import may_go_elsewhere
from backends.routing.fleet import Fleet
from backends.routing.member import Member, MemberRule

log = logging.getLogger(__name__)


class UnknownModel(RequestRejected):
    """No backend serves this name."""

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {model!r} does not exist.", param="model", code="model_not_found", status=404)


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers, as `model`; the models of the fallback only when it cannot."""

    model: Model
    step: Step
    fallback: tuple[str, ...] = ()

    @property
    def backend(self) -> Backend | None:
        """Who is the first to serve it; None when only a fallback can."""
        return self.step.members[0].backend if self.step.members else None


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
        dispatch = Dispatch(policy)
        self._fleet = Fleet(backends, default, rule or MemberRule(), dispatch)
        self._asking = Asking(dispatch, retry or RetryRule(), budget or RetryBudget(), sleep)
        self._aliases = {alias.name: alias for alias in aliases}
        self._policy = policy
        self._telling: asyncio.Task[None] | None = None
        self._told_of: set[tuple[str, str]] = set()  # alias and model
        self.fallbacks: Counter[tuple[str, str]] = Counter()  # (model of the route, who answered instead)

    async def open(self) -> None:
        """Open every backend, or none; watch those that are to be watched."""
        await self._fleet.open()
        if self._aliases:
            self._telling = asyncio.create_task(self._tell_unserved())  # who has not spoken yet holds no start up

    async def close(self) -> None:
        """Close every backend, even when closing one fails."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
        await self._fleet.close()

    def add(self, backend: Backend) -> None:
        """Serve the names of a backend that is open, from now on."""
        self._fleet.add(backend)

    def remove(self, backend: Backend) -> None:
        """Resolve to this backend no more; whoever removes it drains and closes it."""
        self._fleet.remove(backend)

    @property
    def members(self) -> Sequence[Member]:
        return self._fleet.members

    def member(self, name: str) -> Member | None:
        """The backend of this name."""
        return self._fleet.member(name)

    async def models(self) -> Sequence[Model]:
        """Every model served, by the first backend that has the name; then the aliases that anybody can answer for."""
        served = await self._fleet.models()
        names = {model.name for model in served}
        others = [alias for alias in self._aliases.values() if alias.name not in names]
        return [
            *served,
            *(Model(one.name, revision="") for one in others if any(map(self._fleet.may_serve, one.models))),
        ]

    async def health(self) -> Mapping[str, Health]:
        """The health of every backend, by name; one that takes nothing now is not ready."""
        return await self._fleet.health()

    @property
    def stamp(self) -> object | None:
        """Equal to another as long as no backend has come, gone or said anew what it serves, so that every name
        resolves as it did; None: somebody would have to be asked."""
        return self._fleet.stamp

    def unserved(self) -> Mapping[str, Sequence[str]]:
        """What aliases name and nobody serves, by alias."""
        lacking = {
            alias.name: [model for model in alias.models if not self._fleet.may_serve(model)]
            for alias in self._aliases.values()
        }
        return {name: models for name, models in lacking.items() if models}

    def report(self) -> dict[str, Any]:
        """What the admin API and metrics tell."""
        budget, unserved = self._asking.budget, self.unserved()
        return {
            "backends": [member.report() for member in self.members],
            "aliases": [{**_told(alias), "unserved": unserved.get(alias.name, [])} for alias in self._aliases.values()],
            "policy": self._policy,
            "failovers": self._asking.failovers,
            "fallbacks": [{"model": m, "answered_by": by, "times": n} for (m, by), n in self.fallbacks.items()],
            "retry_budget": {"left": round(budget.left, 1), "refused": budget.refused},
        }

    async def resolve(self, model: str, messages: Sequence[Fields] = ()) -> Route:
        """The route of a model name; an alias's hangs on how the conversation began. Raises `UnknownModel`, and
        `BackendNotReady` while a backend that might serve it has not said what it serves.
        """
        alias = self._aliases.get(model)
        first, *fallback = (model,) if alias is None else chain(alias, messages)
        found = await self._fleet.find(first)
        if found is None and not any([await self._fleet.find(name) for name in fallback]):
            raise self._unknown(model)
        if found is None:
            self._warn(model, first)
        target = Model(first, "unknown") if found is None else found.model
        if first != model:  # targets of an alias share nothing; a model that only got a fallback is what it was
            target = replace(target, revision=f"{quote(first)}@{target.revision}")
        return Route(target, Step(first, () if found is None else found.members), tuple(fallback))

    async def stream(self, route: Route, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Generate on the route. Nothing is asked again after the first delta."""
        answering = await self._begin(route, request)
        async with aclosing(answering.deltas) as deltas:
            yield answering.first
            async for delta in deltas:
                yield delta

    async def _begin(self, route: Route, request: ChatRequest) -> Answering:
        """The first delta of whoever can answer. Raises what the model of the route failed with."""
        self._asking.budget.earn()
        asked_for = route.step.model
        try:
            return await self._asking.ask(route.step, _as(request, asked_for))
        except BackendError as error:
            if not may_go_elsewhere(error):
                raise
            failure = error
        for model in route.fallback:
            found = await self._fleet.find(model)
            if found is None:
                continue
            with suppress(BackendError):  # the caller hears of the first one
                answering = await self._asking.ask(Step(model, found.members), _as(request, model))
                self.fallbacks[asked_for, model] += 1
                log.info("%s answers for %s: %s", model, asked_for, failure)  # as often as it is asked
                return replace(answering, first=replace(answering.first, fallback=model))
        raise failure

    async def _tell_unserved(self) -> None:
        for alias in self._aliases.values():
            for model in alias.models:
                if await self._fleet.find(model) is None and not self._fleet.may_serve(model):
                    self._warn(alias.name, model)

    def _warn(self, alias: str, model: str) -> None:
        if (alias, model) not in self._told_of:
            self._told_of.add((alias, model))
            log.warning("the alias %s names %s, which nobody serves: others answer, and that is not kept", alias, model)

    def _unknown(self, model: str) -> BackendError:
        silent = self._fleet.silent
        if silent:
            name = silent[0].name
            return BackendNotReady(f"Nobody is known to serve {model!r}, and {name} has not said what it serves")
        return UnknownModel(model)


def _as(request: ChatRequest, model: str) -> ChatRequest:
    return request if request.model == model else replace(request, model=model)


def _told(alias: Alias) -> dict[str, Any]:
    targets = {target.model: target.weight for target in alias.targets}
    return {"name": alias.name, "targets": targets, "fallback": list(alias.fallback)}
