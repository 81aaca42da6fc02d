"""One backend among several: what it may be asked, what it has to do, and how it has done.

stream   gate -> breaker -> backend; whatever way it ends is counted, and gives back what it held
rank     whether it may be asked now, and after whom
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self, cast

from backends.base import AnyModelBackend, Backend, Health, Model
from backends.chat import ChatRequest, Delta, Usage
from backends.errors import BackendError, BackendNotReady, RequestRejected, UpstreamBilling
from backends.routing.breaker import Breaker, BreakerRule, Permit
from backends.routing.failures import is_busy, is_certain, is_mark, lacks_model, word
from backends.routing.gate import Gate, GateRule
from backends.routing.listening import EventSource
from backends.routing.watch import Watch, WatchRule

EVERY_NAME = "*"
FULL = 3  # the worst rank: it is asked only to hear when there will be room
REST_S = 1.0  # of one that said it has too much to do, and not for how long
MAX_REST_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemberRule:
    """What the operator says of a backend. The default is one that is left to itself, as local engines are."""

    weight: float = 1.0
    names: tuple[str, ...] = ()  # of its models; "*" takes any; empty: it is asked
    gate: GateRule = field(default_factory=GateRule)
    breaker: BreakerRule = field(default_factory=lambda: BreakerRule(failures=0))
    watch: WatchRule | None = None  # None: nobody asks for its health in the background
    events: EventSource | None = None  # where it tells of its KV blocks
    states_revision: bool = True  # False: nothing is known of its weights but their name


@dataclass(eq=False)
class Member:
    """A backend the router owns. Belongs to one event loop; `now` is a clock of seconds."""

    backend: Backend
    rule: MemberRule = field(default_factory=MemberRule)
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.name = self.backend.name
        self.weight = self.rule.weight
        self.is_draining = False
        self.gate = Gate(self.name, self.rule.gate)
        self.breaker = Breaker(self.rule.breaker)
        self.watch = Watch(self.rule.watch or WatchRule())
        self.requests = self.retries = self.prompt_tokens = self.cached_tokens = 0
        self.failures: Counter[str] = Counter()
        self.last_error: tuple[float, str] | None = None  # on the wall's clock
        self.engine: Mapping[str, float] = {}  # what it last said that it has to do, for everybody who asks it
        self._known: Sequence[Model] = ()
        self._named: dict[str, Model] = {}  # those of the configured names
        self._lacks: dict[str, float] = {}  # models that it lists and had not got: until when it is asked last
        self._rests_until_s = self._look_at_s = 0.0

    # -- names ---------------------------------------------------------------------------------------------------

    @property
    def takes_any(self) -> bool:
        """Whether it takes names that nobody lists."""
        return EVERY_NAME in self.rule.names

    @property
    def is_silent(self) -> bool:
        """Whether it has not said yet what it serves."""
        return self.rule.watch is not None and not self.rule.names and not self._known

    @property
    def stamp(self) -> object | None:
        """Another one as soon as it serves other names, or another revision of one; None where nobody knows unasked."""
        if self.rule.names:
            return self  # by the configuration, for good
        if self.rule.watch is not None:
            return self._known or None  # each list is another
        return getattr(self.backend, "stamp", None)

    def may_serve(self, name: str) -> bool:
        """Whether it serves this name, as far as it has been heard: nobody is asked."""
        if self.takes_any or name in self.rule.names:
            return True
        if self.rule.names:
            return False
        return not self._known or any(model.name == name for model in self._known)

    async def models(self) -> Sequence[Model]:
        """What it serves; what it said last while it says nothing. A server is asked here only until it has spoken."""
        if self.rule.names:
            return [self._of_name(name) for name in self.rule.names if name != EVERY_NAME]
        if self.rule.watch is None or not self._known:
            await self.ask_models()
        return self._known

    async def serves(self, name: str) -> Model | None:
        """The model of this name, if it says that it serves it."""
        if self.rule.names:
            return self._of_name(name) if name in self.rule.names and name != EVERY_NAME else None
        return next((model for model in await self.models() if model.name == name), None)

    async def ask_models(self) -> None:
        """Ask for the list anew."""
        listed = await self.backend.models()
        if listed or self.rule.watch is None:
            self._known = listed

    def model(self, name: str) -> Model:
        """The model of this name, of a backend that takes any."""
        return cast("AnyModelBackend", self.backend).model(name)

    def _of_name(self, name: str) -> Model:
        model = self._named.get(name)
        if model is None:
            model = self._named[name] = self.model(name)
        return model

    # -- may it be asked -----------------------------------------------------------------------------------------

    def rank(self, owner: str = "", model: str = "") -> int | None:
        """Who is asked first: the lowest. None: it takes nothing of this tenant now."""
        now_s = self.now()
        if self.is_draining or not self.breaker.allows(now_s, owner):
            return None
        if self.gate.is_full:
            return FULL
        if not self.watch.is_up or now_s < self._lacks.get(model, 0.0):
            return 2
        return 1 if now_s < self._rests_until_s else 0

    def refusal(self, owner: str = "") -> BackendError:
        """Why `rank` is None."""
        if self.is_draining:
            return BackendNotReady(f"{self.name} takes no new requests")
        wait_s = max(1.0, self.breaker.wait_s(self.now(), owner))
        return BackendNotReady(f"{self.name} failed too often and is left alone for a while", retry_after_s=wait_s)

    def drain(self) -> None:
        """Finish what runs and take nothing new; who waits goes elsewhere."""
        self.is_draining = True
        self.gate.turn_away()

    def resume(self) -> None:
        self.is_draining = False

    def is_due(self) -> bool:
        """Whether it is time to look at it; noted as done."""
        if self.rule.watch is None or self.now() < self._look_at_s:
            return False
        self._look_at_s = self.now() + self.rule.watch.every_s
        return True

    async def check(self, timeout_s: float) -> bool:
        """Ask for its health. True when that took it down."""
        health = await self.health(timeout_s)
        return self.watch.heard(health.is_ready, health.detail) and not health.is_ready

    async def health(self, timeout_s: float) -> Health:
        """What it says of itself, within a time."""
        try:
            async with asyncio.timeout(timeout_s):
                health = await self.backend.health()
                self.engine = health.figures
                return health
        except TimeoutError:
            return Health(False, "does not answer")

    # -- one request ---------------------------------------------------------------------------------------------

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Generate when it is this request's turn."""
        entered_s = await self.gate.enter(request.owner)
        try:
            if self.is_draining or not self.breaker.allows(self.now(), request.owner):
                raise self.refusal(request.owner)  # since it queued
            with _Judged(self, request) as judged:
                async with aclosing(self.backend.stream(request)) as deltas:
                    is_first = True
                    async for delta in deltas:
                        if is_first or delta.usage is not None:
                            judged.saw(delta)
                            is_first = False
                        yield delta
        finally:
            self.gate.leave(entered_s)

    def is_back(self, permit: Permit) -> None:
        """A request that was to try it has its first word."""
        if permit.is_probe:
            log.info("%s is back", self.name)
        self.breaker.spoke(permit)

    def has_answered(self, permit: Permit, model: str) -> None:
        """An answer of it has ended by itself."""
        self.breaker.succeeded(permit)
        self._lacks.pop(model, None)

    def failed(self, error: BackendError, permit: Permit, model: str) -> None:
        """It could not answer: what that says of it."""
        self.failures[word(error)] += 1
        self.last_error = (time.time(), str(error))
        if is_mark(error):
            now_s = self.now()
            if self.breaker.failed(permit, now_s, is_certain=is_certain(error)):
                whose = " by the one tenant who saw it fail" if self.breaker.state(now_s) != "open" else ""
                wait_s = self.breaker.wait_s(now_s, permit.owner)
                log.warning("%s is left alone%s for %.0f s: %s", self.name, whose, wait_s, error)
        elif lacks_model(error):
            self._lacks_model(model)
        elif isinstance(error, RequestRejected) and not is_busy(error):
            self.breaker.succeeded(permit)  # it read the request, and judged it
        if isinstance(error, UpstreamBilling):
            self._rests_until_s = self.now() + MAX_REST_S
        elif is_busy(error) or error.retry_after_s is not None:
            self._rests_until_s = self.now() + min(MAX_REST_S, error.retry_after_s or REST_S)

    def _lacks_model(self, model: str) -> None:
        """A name that it takes as it takes any says nothing of it; one that it lists is looked for elsewhere first."""
        if model not in self.rule.names and all(model != known.name for known in self._known):
            return
        if model not in self._lacks:
            log.warning("%s is to serve %s and says that it has not got it: it is asked last", self.name, model)
        self._lacks[model] = self.now() + MAX_REST_S

    # -- what is told --------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """In a word."""
        if self.is_draining:
            return "draining" if self.gate.inside else "drained"
        breaker = self.breaker.state(self.now())
        if breaker != "closed":
            return breaker
        if self.breaker.num_shut_out(self.now()):
            return "open_for_some"
        return "down" if not self.watch.is_up else "resting" if self.now() < self._rests_until_s else "ready"

    def report(self) -> dict[str, Any]:
        """What the admin API tells."""
        now_s, error = self.now(), self.last_error
        return {
            "name": self.name,
            "state": self.state,
            "models": list(self.rule.names) or [model.name for model in self._known],
            "lacks": sorted(self._lacks),  # of these, what it had not got when it was asked
            "weight": self.weight,
            "running": self.gate.inside,
            "waiting": self.gate.waiting,
            "max_concurrency": self.rule.gate.at_once,
            "requests": self.requests,
            "retries": self.retries,
            "failures": dict(self.failures),
            "queue": {"refused": self.gate.refused, "timed_out": self.gate.timed_out},
            "breaker": {
                "state": self.breaker.state(now_s),
                "opened": self.breaker.times_opened,
                "tenants": self.breaker.num_shut_out(now_s),  # for whom alone it is open
                "wait_s": round(self.breaker.wait_s(now_s), 3),
            },
            "health": {"is_up": self.watch.is_up, "detail": self.watch.detail},
            "engine": dict(self.engine),
            "last_error": None if error is None else {"at": error[0], "message": error[1]},
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "cached_share": self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None,
        }


class _Judged:
    """One request of a member on its way: the breaker hears how it ends, the counts what it used.

    A caller who leaves says nothing of the backend.
    """

    __slots__ = ("_is_trial", "_member", "_permit", "_request", "_usage")

    def __init__(self, member: Member, request: ChatRequest) -> None:
        self._member, self._request = member, request
        self._usage: Usage | None = None
        member.requests += 1
        self._permit = member.breaker.begin(member.now(), request.owner)
        self._is_trial = self._permit.is_probe or self._permit.is_own_probe

    def __enter__(self) -> Self:
        return self

    def saw(self, delta: Delta) -> None:
        if self._is_trial:
            self._is_trial = False
            self._member.is_back(self._permit)
        if delta.usage is not None:
            self._usage = delta.usage

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        member, usage = self._member, self._usage
        if error is None:
            member.has_answered(self._permit, self._request.model)
        elif isinstance(error, BackendError):
            member.failed(error, self._permit, self._request.model)
        member.breaker.end(self._permit)
        if usage is not None and not self._request.purpose:
            member.prompt_tokens += usage.prompt_tokens
            member.cached_tokens += usage.cached_tokens
