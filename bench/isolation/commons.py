"""The same where tenants share: an answer crosses only when so many have asked the very same.

The marks say whose answer it is, and a digest in it which words it answers; the bench counts by itself who has asked
those, on no wall. Behind walls, and of the tenant that does not share, nothing crosses ever.
"""

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.inprocess import Answer, ask
from bench.isolation.askers import MARK, MODELS, NAMES, Asker, Tenant
from bench.isolation.asking import HISTORIES, THINGS, WORDINGS, Question, said_in
from bench.isolation.marking import ASKING, digest_of
from bench.isolation.town import ALONE, House
from bench.isolation.watch import Watch

SHAPES = ("chat", "completions", "messages")
SOME = THINGS[:10]  # few, so that enough ask for the same
_DIGEST = re.compile(r"q([0-9a-f]{12}) ")
_MARK = re.compile(MARK.decode())
_Words = tuple[str, str, tuple[tuple[str, str], ...], str]  # shape, model, history, digest of the question
Heard = dict[_Words, set[str]]


@dataclass(slots=True)
class CommonPairs:
    """Two ask the same, or nearly, one after the other or at once; `least` have to have asked before one crosses."""

    house: House
    keys: Sequence[tuple[str, ...]]
    rng: random.Random
    least: int
    watch: Watch = field(default_factory=Watch)
    heard: Heard = field(default_factory=lambda: defaultdict(set))  # tenants that asked, on no wall

    async def run(self, count: int) -> None:
        crowd = [Tenant(f"key {n}", texts) for n, texts in enumerate(self.keys)]
        for _ in range(count):
            question = self._draw()
            near = replace(question, is_streamed=self.rng.random() < 0.3)
            if self.rng.random() < 0.3:
                near = replace(near, wording=self.rng.choice(WORDINGS))
            first, second = (self._one(tenant) for tenant in self.rng.sample(crowd, 2))
            asked = self.ask(first, question, "first"), self.ask(second, near, "tenant")
            if self.rng.random() < 0.3:
                await asyncio.gather(*asked)
            else:
                for one in asked:
                    await one

    async def ask(self, asker: Asker, question: Question, difference: str) -> None:
        """Ask, and hold what crossed against who has asked for it before this request was over."""
        words = _words(question, asker, digest_of(question.text))
        had_asked = asker.tenant.name in self.heard[words]
        may_share = not (asker.namespace or asker.salt or asker.tenant.name == ALONE.name)
        if may_share:
            self.heard[words].add(asker.tenant.name)
        answer = await self._answer(asker, question)
        if answer.status != 200:
            self.watch.refused[f"{question.shape}: {answer.body[:160]!r}", answer.status] += 1
            return
        tier, reason = answer.headers["x-twicetold-tier"], answer.headers["x-twicetold-reason"]
        self.watch.tiers[difference, question.shape, f"{tier} {reason}"] += 1
        said = said_in(answer)
        found = _DIGEST.search(said)
        others = set(_MARK.findall(said)) - {asker.mark}
        if found is None or (not others and asker.mark not in said):
            self.watch.leaked("an answer that says neither whose nor to what it is", asker, answer)
            return
        asked = self.heard[_words(question, asker, found[1])]
        own = {asker.tenant.name} if found[1] == digest_of(question.text) and not had_asked else set[str]()
        givers = {self._plain(name, asker.model).mark for name in asked - own}
        if others and (not may_share or len(asked - own) < self.least):
            told = f"an answer of another when {len(asked - own)} of {self.least} had asked for it"
            self.watch.leaked(told, asker, answer)
        if others and "shared" not in reason:
            self.watch.leaked("an answer of another that is not called shared", asker, answer)
        self.watch.look(answer, asker, own=frozenset(givers))

    def _draw(self) -> Question:
        shape = self.rng.choice(SHAPES)
        history = self.rng.choice(HISTORIES) if shape != "completions" and self.rng.random() < 0.3 else ()
        wording = WORDINGS[0] if self.rng.random() < 0.8 else self.rng.choice(WORDINGS)
        return Question(shape, self.rng.choice(SOME), wording, history, self.rng.random() < 0.3)

    def _one(self, tenant: Tenant) -> Asker:
        """On no wall, mostly."""
        rng = self.rng
        namespace, salt = (rng.choice(NAMES) if rng.random() < 0.1 else "" for _ in range(2))
        model = MODELS[0] if rng.random() < 0.7 else rng.choice(MODELS)
        return Asker(tenant, namespace, salt, model, rng.randrange(6))

    def _plain(self, name: str, model: str) -> Asker:
        return Asker(Tenant(name), model=model)

    async def _answer(self, asker: Asker, question: Question) -> Answer:
        token = ASKING.set(asker.mark)
        try:
            return await ask(self.house.apps[0], "POST", question.path, question.body(asker), asker.headers)
        finally:
            ASKING.reset(token)


def _words(question: Question, asker: Asker, digest: str) -> _Words:
    return question.shape, asker.model, question.history, digest
