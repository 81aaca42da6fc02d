"""Which replica gets a request, and what the policy hears of it: the choosers of all models, and the loads they see."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import ceil

from backends.chat import ChatRequest, Delta, Usage
from backends.errors import BackendError
from backends.journey import attempt
from backends.routing.affinity import Affinity
from backends.routing.base import Choice, Chooser, Load
from backends.routing.counters import Counters
from backends.routing.member import Member
from backends.routing.policies import make_chooser
from backends.routing.prompt import Prompt

NO_USAGE = Usage()
MAX_CHOOSERS = 256  # models with a memory of who holds which prefix


class Dispatch:
    """Belongs to one event loop."""

    def __init__(self, policy: str) -> None:
        """Raises ValueError for an unknown policy."""
        self.policy = policy
        self._choosers: OrderedDict[str, Chooser] = OrderedDict()
        self._counters = Counters()

    def choose(self, model: str, prompt: Prompt, members: Sequence[Member]) -> tuple[Member, Choice]:
        """One of those that may be asked, at least one."""
        most = max(member.weight for member in members)
        loads = [_weighted(self._load(member), most / member.weight) for member in members]
        choice = self._chooser(model).choose(prompt, loads)
        return next(member for member in members if member.name == choice.replica), choice

    async def stream(
        self, member: Member, request: ChatRequest, prompt: Prompt | None, choice: Choice | None
    ) -> AsyncGenerator[Delta, None]:
        """What a backend says, counted as its load; the policy hears how much of the prompt it had kept."""
        usage, has_read = NO_USAGE, False
        held = choice.predicted_tokens if choice is not None else 0
        tokens = max(0, prompt.num_tokens - held) if prompt is not None else 0
        try:
            async with aclosing(member.stream(request)) as deltas:
                with attempt(member.name, request.model), self._counters.sent(member.name, tokens) as sent:
                    async for delta in deltas:
                        if not has_read:
                            sent.answering()
                            has_read = True
                        if delta.usage is not None:
                            usage = delta.usage
                        yield delta
        except BackendError:
            has_read = False  # who breaks off may have lost it
            raise
        finally:  # also when the caller has left: the prompt was read
            if has_read and choice is not None and prompt is not None:
                self._chooser(request.model).heard(choice, prompt, _cached(usage), usage.prompt_tokens)

    def forget(self, backend: str) -> None:
        """What it held of prefixes is gone: it restarted, or is no more."""
        for chooser in self._choosers.values():
            chooser.reset(backend)

    def room(self, num_tokens: int) -> None:
        """An engine began to push prefixes out when it had so many tokens."""
        for chooser in self._choosers.values():
            if isinstance(chooser, Affinity):
                chooser.room(num_tokens)

    def _load(self, member: Member) -> Load:
        load = self._counters.load(member.name, member.gate.waiting)
        return replace(load, running=max(0, load.running - member.gate.waiting))

    def _chooser(self, model: str) -> Chooser:
        chooser = self._choosers.get(model)
        if chooser is None:
            chooser = self._choosers[model] = make_chooser(self.policy)
            if len(self._choosers) > MAX_CHOOSERS:
                self._choosers.popitem(last=False)
        self._choosers.move_to_end(model)
        return chooser


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
