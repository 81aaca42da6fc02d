"""Pairs of requests: somebody asks, then somebody else, in one of the ways in which something could cross."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.inprocess import Answer, ask
from bench.isolation.askers import NUM_BEARERS, Asker, Crowd, tenants
from bench.isolation.asking import Question, draw, near
from bench.isolation.marking import ASKING, digest_of
from bench.isolation.town import House
from bench.isolation.watch import Watch

FOLLOWED = ("responses",)
ASIDE = ("chat", "completions", "responses", "messages")


@dataclass(slots=True)
class Pairs:
    """Runs pairs against one house. What is drawn follows from the seed; how tasks take turns does not."""

    house: House
    keys: Sequence[tuple[str, ...]]  # that it gave out, by tenant
    rng: random.Random
    watch: Watch = field(default_factory=Watch)
    kinds: Counter[str] = field(default_factory=Counter)

    async def run(self, count: int, *, at_once: int = 8) -> None:
        crowd = Crowd(self.rng, tenants(NUM_BEARERS, self.keys))
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await self._pair(crowd)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(some())

    async def _pair(self, crowd: Crowd) -> None:
        first = crowd.one()
        second, difference = crowd.other(first)
        kind, run = self.rng.choices(_KINDS, _WEIGHTS)[0]
        self.kinds[kind] += 1
        await run(self, first, second, difference)

    # -- the kinds ---------------------------------------------------------------------------------------------------

    async def _after(self, first: Asker, second: Asker, difference: str) -> None:
        """One asks; then the other asks the same, or nearly."""
        question = draw(self.rng)
        await self.ask(first, question, "first")
        await self.ask(second, near(self.rng, question), difference)

    async def _together(self, first: Asker, second: Asker, difference: str) -> None:
        """Both ask at once: who may not share must not ride along."""
        question = draw(self.rng)
        other = near(self.rng, question)
        await asyncio.gather(self.ask(first, question, "first"), self.ask(second, other, difference))

    async def _kept(self, first: Asker, second: Asker, difference: str) -> None:
        """One puts an answer of its own; then the other looks it up, or asks."""
        question = draw(self.rng, ASIDE)
        body = {
            "shape": question.shape,
            "request": question.body(first),
            "answer": f"{first.mark} q{digest_of(question.text)} by hand",
        }
        put = await self._call(first, "PUT", "/v1/cache/entries", body)
        self.watch.look(put, first)
        self.watch.tiers["first", "put", str(put.status)] += 1
        if put.status == 200 and (entry := put.json()["entry"]):
            self.watch.owners.setdefault(entry, first.mark)
        other = near(self.rng, question)
        looked = await self._call(
            second, "POST", "/v1/cache/lookup", {"shape": other.shape, "request": other.body(second)}
        )
        self.watch.look(looked, second)
        said = looked.json()
        self.watch.tiers[difference, "lookup", f"{said.get('tier')} {said.get('reason')}"] += 1
        if said.get("hit") and second.mark not in looked.body.decode():
            self.watch.leaked("a looked-up answer without its asker's mark", second, looked)

    async def _followed(self, first: Asker, second: Asker, difference: str) -> None:
        """The other goes on from the first one's response: only its own tenant may."""
        question = draw(self.rng, FOLLOWED)
        name = await self.ask(first, question, "first")
        if name is None:
            return
        body = question.body(second, previous_response_id=name)
        answer = await self._call(second, "POST", question.path, body)
        is_own = first.tenant == second.tenant
        # what a tenant said before is its own on every wall: the model's words name the scope they were said in
        self.watch.look(answer, second, own=frozenset({first.mark}) if is_own else frozenset())
        self.watch.tiers[difference, "follow", str(answer.status)] += 1
        if not is_own and answer.status == 200:
            self.watch.leaked("another's conversation", second, answer)

    async def _judged(self, first: Asker, second: Asker, difference: str) -> None:
        """The other says the first one's answer is bad: only its own tenant's word counts."""
        question = draw(self.rng, ASIDE)
        name = await self.ask(first, question, "first")
        if name is None or first.tenant == second.tenant:
            return
        answer = await self._call(second, "POST", "/v1/cache/feedback", {"id": name, "verdict": "bad"})
        self.watch.look(answer, second)
        self.watch.tiers[difference, "feedback", str(answer.status)] += 1
        if answer.status == 200:
            self.watch.leaked("a verdict on another's answer", second, answer)

    async def _explained(self, first: Asker, second: Asker, difference: str) -> None:
        """An operator asks for the other what would answer it: nothing of the first one's."""
        question = draw(self.rng, ("chat",))
        await self.ask(first, question, "first")
        body: dict[str, Any] = {"request": near(self.rng, question).body(second), "api_key": second.credential}
        if second.wall != "cache":  # an explanation reads the body alone
            body["request"]["cache"] = {"namespace": second.namespace}
        answer = await self._call(second, "POST", "/admin/api/explain", body)
        self.watch.look(answer, second)
        self.watch.tiers[difference, "explain", str(answer.status)] += 1
        entry = answer.json()["would"]["entry"] if answer.status == 200 else None  # elsewhere is for operators alone
        if entry is not None and self.watch.owners.get(entry, second.mark) != second.mark:
            self.watch.leaked(f"another's entry {entry} as what would answer", second, answer)

    async def _forged(self, first: Asker, second: Asker, difference: str) -> None:
        """The other says of itself that it is the first one, in all the ways that a client has."""
        question = draw(self.rng)
        await self.ask(first, question, "first")
        told = first.tenant.name
        forged = {"user": told, "metadata": {"user_id": told}, "prompt_cache_key": told, "safety_identifier": told}
        if question.shape == "embeddings":
            forged = {"user": told}
        headers = [(name, told.encode()) for name in _FORGED]
        await self.ask(second, near(self.rng, question), difference, headers, **forged)

    async def _mistaken(self, first: Asker, second: Asker, difference: str) -> None:
        """The other makes a mistake: what it is told is of its own request alone."""
        question = draw(self.rng)
        await self.ask(first, question, "first")
        body = question.body(second)
        body |= self.rng.choice(
            ({"model": "nobody's"}, {"temperature": "hot"}, {"cache": {"ttl": -1}}, {"cache_salt": ""}, {"n": 0})
        )
        answer = await self._call(second, "POST", question.path, body)
        self.watch.look(answer, second)
        self.watch.tiers[difference, "mistake", str(answer.status)] += 1

    # -- asking ------------------------------------------------------------------------------------------------------

    async def ask(
        self,
        asker: Asker,
        question: Question,
        difference: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        **more: Any,
    ) -> str | None:
        """Ask and hold the answer against the asker; the id of the response."""
        answer = await self._call(asker, "POST", question.path, question.body(asker, **more), headers)
        return self.watch.answered(answer, asker, question, difference)

    async def _call(
        self, asker: Asker, method: str, path: str, body: Any, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> Answer:
        app = self.rng.choice(self.house.apps)
        token = ASKING.set(asker.mark)
        try:
            return await ask(app, method, path, body, [*asker.headers, *headers])
        finally:
            ASKING.reset(token)


_FORGED = (
    b"x-tenant",
    b"x-tenant-id",
    b"x-twicetold-tenant",
    b"x-forwarded-user",
    b"x-user-id",
    b"openai-organization",
)
_Run = Callable[[Pairs, Asker, Asker, str], Awaitable[None]]
_KINDS: Sequence[tuple[str, _Run]] = (
    ("after", Pairs._after),
    ("together", Pairs._together),
    ("kept", Pairs._kept),
    ("followed", Pairs._followed),
    ("judged", Pairs._judged),
    ("explained", Pairs._explained),
    ("forged", Pairs._forged),
    ("mistaken", Pairs._mistaken),
)
_WEIGHTS = (40, 25, 10, 5, 5, 2, 8, 5)
