"""The same for kept prefixes: `cached_tokens` of whoever asks first behind their own walls is nothing.

A model's template begins every prompt alike, so behind walls where something else was asked before, that much is known.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.inprocess import ask
from bench.isolation.askers import NUM_BEARERS, Asker, Crowd, tenants
from bench.isolation.town import House
from bench.isolation.watch import Watch

OWN_HEAD = 64  # tokens that a template, and the first block of it, have at most
LINE = "A block of thirty-two tokens is named by a chain of hashes that begins at a secret. "


@dataclass(slots=True)
class PrefixPairs:
    """One has a long prompt read, then the other; the engine is a real one, in a process of its own."""

    house: House
    keys: Sequence[tuple[str, ...]]
    rng: random.Random
    watch: Watch = field(default_factory=Watch)
    known: set[tuple[str, ...]] = field(default_factory=set)  # walls behind which something was asked

    async def run(self, count: int) -> None:
        crowd = Crowd(self.rng, tenants(NUM_BEARERS, self.keys))
        service = self.house.services[0]
        model = service.settings.local_model
        while not (await service.readiness()).is_ready:  # noqa: ASYNC110 - it is told nobody
            await asyncio.sleep(0.1)
        for n in range(count):
            first = replace(crowd.one(), model=model)
            second, difference = crowd.other(first)
            second = replace(second, model=model)
            prompt = f"{n} {self.rng.random()}: " + LINE * self.rng.choice((4, 8, 12))
            shape = self.rng.choice(("chat", "responses", "messages", "completions"))
            await self._ask(first, shape, prompt, "first", may_share=False)
            is_same = second.scope == first.scope
            await self._ask(second, shape, prompt, "same" if is_same else difference, may_share=is_same)

    async def _ask(self, asker: Asker, shape: str, prompt: str, difference: str, *, may_share: bool) -> None:
        path, said = _ASKED[shape]
        body = {"model": asker.model, "temperature": 0, "cache": {"tiers": ["kv"]}, **said}
        if shape == "completions":
            body["prompt"] = prompt
        elif shape == "responses":
            body["input"] = prompt
        else:
            body["messages"] = [{"role": "user", "content": prompt}]
        if asker.namespace and asker.wall == "cache":
            body["cache"] = {"tiers": ["kv"], "namespace": asker.namespace}
        if asker.salt:
            body["cache_salt"] = asker.salt
        answer = await ask(self.house.apps[0], "POST", path, body, asker.headers)
        self.watch.look(answer, asker)
        if answer.status != 200:
            self.watch.refused[f"{shape}: {answer.body[:160]!r}", answer.status] += 1
            return
        usage = answer.json()["usage"]
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        cached = details.get("cached_tokens", usage.get("cache_read_input_tokens", 0))
        self.watch.tiers[difference, shape, "resumed" if cached else "read anew"] += 1
        head = OWN_HEAD if asker.scope in self.known else 0
        self.known.add(asker.scope)
        if cached > head and not may_share:
            self.watch.leaked(f"{cached} tokens of another's prefix", asker, answer)


_ASKED = {
    "chat": ("/v1/chat/completions", {"max_tokens": 1}),
    "completions": ("/v1/completions", {"max_tokens": 1}),
    "responses": ("/v1/responses", {"max_output_tokens": 1}),
    "messages": ("/v1/messages", {"max_tokens": 1}),
}
