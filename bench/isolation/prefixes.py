"""The same for kept prefixes, which no mark can tell apart: what is not said to be kept was read anew.

Three witnesses. `cached_tokens` of whoever asks first behind their own walls is nothing; the model's template begins
every prompt alike, so behind walls where something else was asked before, that much is known. What the engine says that
it computed is all that the answers say was not kept: a crossing that tells nobody leaves it short. And the words are
those of the same request with nothing kept (`tiers: []`, by the same count computed as a whole): keys and values of
other words, or of another model, would change them.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.inprocess import Answer, ask
from bench.isolation.askers import NUM_BEARERS, Asker, Crowd, Tenant, tenants
from bench.isolation.asking import said_in
from bench.isolation.town import LOCAL, House
from bench.isolation.watch import Watch

OWN_HEAD = 64  # tokens that a template, and the first block of it, have at most
NUM_WORDS = 8  # tokens of an answer
LINE = "A block of thirty-two tokens is named by a chain of hashes that begins at a secret. "


@dataclass(slots=True)
class PrefixPairs:
    """One has a long prompt read, then the other; the engines are real ones, in processes of their own."""

    house: House
    keys: Sequence[tuple[str, ...]]
    rng: random.Random
    watch: Watch = field(default_factory=Watch)
    known: set[tuple[str, ...]] = field(default_factory=set)  # walls behind which something was asked
    read: Counter[str] = field(default_factory=Counter)  # model -> tokens that its answers say it has computed
    patience_s: float = 30.0  # an engine tells what it has computed now and then

    async def run(self, count: int) -> None:
        crowd = Crowd(self.rng, tenants(NUM_BEARERS, self.keys), LOCAL)
        for n in range(count):
            first = crowd.one()
            second, difference = crowd.other(first)
            own, other = (f"{n} {self.rng.random()}: " for _ in range(2))
            text, shape = LINE * self.rng.choice((4, 8, 12)), self.rng.choice(tuple(_ASKED))
            await self.ask(first, shape, own + text, "first", may_share=False)
            is_asked_alike = self.rng.random() < 0.75
            is_same = second.scope == first.scope
            named = ("same" if is_same else difference) if is_asked_alike else "another beginning"
            prompt = (own if is_asked_alike else other) + text
            await self.ask(second, shape, prompt, named, may_share=is_same and is_asked_alike)
        await self.add_up()

    async def ask(self, asker: Asker, shape: str, prompt: str, difference: str, *, may_share: bool) -> None:
        """Ask, and again with nothing kept; hold the answer against what may be shared, and against the other."""
        answer = await self._answer(asker, shape, prompt, {"tiers": ["kv"]})
        self.watch.look(answer, asker)
        if answer.status != 200:
            self.watch.refused[f"{shape}: {answer.body[:160]!r}", answer.status] += 1
            return
        total, cached = _tokens(answer)
        self.read[asker.model] += total - cached
        self.watch.tiers[difference, shape, "resumed" if cached else "read anew"] += 1
        head = OWN_HEAD if asker.scope in self.known else 0
        self.known.add(asker.scope)
        if cached > head and not may_share:
            self.watch.leaked(f"{cached} tokens of another's prefix", asker, answer)
        cold = await self._answer(asker, shape, prompt, {"tiers": [], "no-store": True})
        self.watch.look(cold, asker)
        self.read[asker.model] += total
        if cold.status != 200 or _tokens(cold) != (total, 0) or _words(cold) != _words(answer):
            self.watch.leaked(f"words that are not those of a cold run, {cold.body[:600]!r}", asker, answer)

    async def add_up(self) -> None:
        """Hold what each engine computed against what the answers say. More is no crossing: it may compute twice."""
        waits_until = asyncio.get_running_loop().time() + self.patience_s
        while (short := self._short()) and asyncio.get_running_loop().time() < waits_until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for model, missing in short.items():
            nobody = Asker(Tenant("whoever asked"), model=model)
            told = f"{missing} tokens that no answer calls kept were not computed"
            self.watch.leaked(told, nobody, Answer(0, {}, b""))

    def _short(self) -> dict[str, int]:
        stats = self.house.services[0].engines.stats()
        missing = {model: read - stats[model]["prefill_tokens"] for model, read in self.read.items()}
        return {model: count for model, count in missing.items() if count > 0}

    async def _answer(self, asker: Asker, shape: str, prompt: str, cache: Mapping[str, Any]) -> Answer:
        path, limit, said = _ASKED[shape]
        wall = {"namespace": asker.namespace} if asker.namespace and asker.wall == "cache" else {}
        body = {"model": asker.model, "temperature": 0, limit: NUM_WORDS, "cache": {**cache, **wall}}
        body[said] = [{"role": "user", "content": prompt}] if said == "messages" else prompt
        if asker.salt:
            body["cache_salt"] = asker.salt
        return await ask(self.house.apps[0], "POST", path, body, asker.headers)


def _tokens(answer: Answer) -> tuple[int, int]:
    """Of the prompt: all, and those that were kept."""
    usage = answer.json()["usage"]
    if "cache_read_input_tokens" in usage:  # Anthropic's: what was kept is no part of the rest
        kept = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + usage.get("cache_creation_input_tokens", 0) + kept, kept
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    return usage.get("prompt_tokens", usage.get("input_tokens", 0)), details.get("cached_tokens", 0)


def _words(answer: Answer) -> str:
    """What the model said, in whichever shape; all of the answer where it said nothing."""
    said = answer.json()
    if choices := said.get("choices"):
        return str(choices[0].get("text") or choices[0].get("message", {}).get("content"))
    parts = said.get("content") or [part for item in said.get("output", ()) for part in item.get("content", ())]
    return "".join(part.get("text", "") for part in parts) or said_in(answer)


_ASKED = {  # its path, what it calls a limit, and a prompt
    "chat": ("/v1/chat/completions", "max_tokens", "messages"),
    "completions": ("/v1/completions", "max_tokens", "prompt"),
    "responses": ("/v1/responses", "max_output_tokens", "input"),
    "messages": ("/v1/messages", "max_tokens", "messages"),
}
