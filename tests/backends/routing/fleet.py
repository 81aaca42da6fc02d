"""A router over scripted backends, for tests of what it does when they fail. Its clock moves when it is told."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from backends.chat import ChatRequest, Completion, Delta, collect
from backends.errors import BackendError
from backends.fake import Script, ScriptedBackend, say
from backends.routing.aliases import Alias
from backends.routing.asking import RetryRule
from backends.routing.breaker import BreakerRule
from backends.routing.budget import RetryBudget
from backends.routing.gate import GateRule
from backends.routing.member import Member, MemberRule
from backends.routing.router import Router


@dataclass
class Clock:
    """Seconds that pass when told, or when somebody sleeps."""

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


@dataclass
class Fleet:
    """Backends by name, and the router over them."""

    backends: dict[str, ScriptedBackend]
    router: Router
    clock: Clock

    async def ask(self, text: str = "hi", model: str = "m", **wishes: Any) -> Completion:
        return collect(await self.deltas(text, model, **wishes))

    async def deltas(self, text: str = "hi", model: str = "m", **wishes: Any) -> Sequence[Delta]:
        messages = ({"role": "user", "content": text},)
        route = await self.router.resolve(model, messages)
        request = ChatRequest(model, messages, **wishes)
        async with aclosing(self.router.stream(route, request)) as deltas:
            return [delta async for delta in deltas]

    def calls(self) -> dict[str, int]:
        return {name: backend.calls for name, backend in self.backends.items()}

    def member(self, name: str) -> Member:
        member = self.router.member(name)
        assert member is not None
        return member


def fleet(
    scripts: dict[str, Script],
    *,
    models: dict[str, str] | None = None,
    at_once: int = 0,
    queue: int = 8,
    queue_s: float = 60.0,
    breaker: BreakerRule | None = None,
    aliases: Sequence[Alias] = (),
    policy: str = "round_robin",
    retries: int = 0,
    max_wait_s: float = 2.0,
    budget: RetryBudget | None = None,
) -> Fleet:
    """Backends that play these scripts. All serve the model `m`, but for what `models` says."""
    clock = Clock()
    backends = {
        name: ScriptedBackend(script, name=name, model_names=[(models or {}).get(name, "m")], revision="1")
        for name, script in scripts.items()
    }
    rule = MemberRule(gate=GateRule(at_once, queue, queue_s), breaker=breaker or BreakerRule(failures=0))
    router = Router(
        [Member(backend, rule, clock) for backend in backends.values()],
        aliases=aliases,
        policy=policy,
        retry=RetryRule(retries, first_s=0.1, max_wait_s=max_wait_s),
        budget=budget,
        sleep=clock.sleep,
    )
    return Fleet(backends, router, clock)


def failing(error: BackendError, times: int = 10**6, before: Sequence[Delta] = (), then: str = "fine") -> Script:
    """A script that fails so many times, after saying `before`, and then answers."""
    left = iter(range(times))
    return lambda _request: [*before, error] if next(left, None) is not None else say(then)
