"""The first delta of one model: its replicas in turn, and all of them once more where a moment may help.

    a round    among those that may be asked now, by the policy; one that fails gives way to the next
    a pause    with jitter, and not less than the server asked for; the budget says no

To a backend that nothing speaks against one may always go. To try those that are tired or ill costs the budget, as a
second round does: that is what makes an outage worse.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from backends.chat import ChatRequest, Delta
from backends.errors import BackendError, BackendGarbage, BackendNotReady
from backends.routing.base import Choice
from backends.routing.budget import RetryBudget
from backends.routing.dispatch import Dispatch
from backends.routing.failures import has_lost_memory, lacks_model, may_go_elsewhere, may_repeat
from backends.routing.member import FULL, Member
from backends.routing.prompt import Prompt, prompt_of
from backends.routing.replicas import candidates

MAX_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """A model of a route, and who serves it now."""

    model: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How a backend that did not take a request is asked again."""

    times: int = 1
    first_s: float = 0.2  # the pause is anything up to this, doubling
    max_wait_s: float = 0.0  # the longest Retry-After that is waited for


@dataclass(frozen=True, slots=True)
class Answering:
    """A stream whose first delta is here."""

    first: Delta
    deltas: AsyncGenerator[Delta, None]


@dataclass(slots=True)
class _Try:
    """One step of one request on its way."""

    step: Step
    request: ChatRequest
    failures: dict[Member, BackendError] = field(default_factory=dict)  # of those that are not to be asked again
    asked: set[Member] = field(default_factory=set)
    last: BackendError | None = None
    prompt: Prompt | None = None


class Asking:
    """Asks backends until one answers. Belongs to one event loop."""

    def __init__(
        self,
        dispatch: Dispatch,
        retry: RetryRule,
        budget: RetryBudget,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.budget = budget
        self.failovers = 0  # to another replica
        self._dispatch = dispatch
        self._retry = retry
        self._sleep = sleep
        self._random = Random()  # noqa: S311 (a pause is no secret)

    async def ask(self, step: Step, request: ChatRequest) -> Answering:
        """The first delta, and the rest behind it. Raises what the last backend failed with."""
        one, attempt = _Try(step, request), 0
        while True:
            attempt += 1
            try:
                return await self._round(one)
            except BackendError as error:
                waits_s = [
                    failure.retry_after_s or 0.0
                    for failure in one.failures.values()
                    if may_repeat(failure, self._retry.max_wait_s)
                ]
                if not may_go_elsewhere(error) or not waits_s:
                    raise
                if attempt > self._retry.times or not self.budget.take():
                    raise
            await self._sleep(min(waits_s) + self._jitter_s(attempt))

    def _jitter_s(self, attempt: int) -> float:
        """Anything up to a bound that doubles, so that those who failed together do not come together again."""
        first_s = self._retry.first_s
        return self._random.uniform(first_s / 4, min(MAX_PAUSE_S, first_s * 2 ** (attempt - 1)))

    async def _round(self, one: _Try) -> Answering:
        """Every replica that may answer, once. Raises what the last one failed with."""
        if one.failures:
            longest_s = self._retry.max_wait_s
            one.failures = {m: failure for m, failure in one.failures.items() if not may_repeat(failure, longest_s)}
        is_second = False
        while True:
            untried = [member for member in one.step.members if member not in one.failures]
            left, rank = candidates(untried, one.request.owner, one.step.model)
            if not left or (is_second and (rank == FULL or (rank > 0 and not self.budget.take()))):
                raise one.last or _nobody(one.step, one.request.owner)
            self.failovers += is_second
            member, choice = self._choose(one, left)
            member.retries += member in one.asked
            one.asked.add(member)
            try:
                return await self._first_of(member, choice, one)
            except BackendError as error:
                one.failures[member] = error
                if one.last is None or not lacks_model(error):  # who has it and failed is who is to be heard of
                    one.last = error
                is_second = True
                if has_lost_memory(error):
                    self._dispatch.forget(member.name)
                if not may_go_elsewhere(error):
                    raise

    def _choose(self, one: _Try, left: list[Member]) -> tuple[Member, Choice | None]:
        if len(one.step.members) == 1:
            return left[0], None
        if one.prompt is None:
            one.prompt = prompt_of(one.request)
        return self._dispatch.choose(one.step.model, one.prompt, left)

    async def _first_of(self, member: Member, choice: Choice | None, one: _Try) -> Answering:
        deltas = self._dispatch.stream(member, one.request, one.prompt, choice)
        first = await anext(deltas, None)
        if first is None:
            raise BackendGarbage(f"{member.name} ended without an answer")
        return Answering(first, deltas)


def _nobody(step: Step, owner: str) -> BackendError:
    """Why nobody could even be asked: the one that may be soonest says it."""
    refusals = [member.refusal(owner) for member in step.members]
    if not refusals:
        return BackendNotReady(f"No backend serves {step.model!r} now")
    return min(refusals, key=lambda refusal: refusal.retry_after_s or float("inf"))
