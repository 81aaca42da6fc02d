"""A generation of another replica, as it tells it; and what to make of its silence.

A leader that generates and a leader that died are equally silent. So after a while an ear asks for the lease: while it
is held, the leader lives; once it has lapsed, the ear has it, and its replica generates. Letters may be lost (a reader
that died with them, a Redis that was restarted): they are numbered, and an ear asks again for what it misses.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from itertools import count

from backends.chat import Delta
from backends.errors import BackendError
from gateway.answers.base import CacheError
from gateway.shared.flights.leases import Claim, Follow, Lead
from gateway.shared.flights.post import Post
from gateway.shared.flights.words import Ended, Leave, Said, Want

MARGIN_S = 0.02  # after a lease has lapsed, before it is asked for
SHORTEST_S = 0.05  # between two questions
AWAY_LEASES = 2.0  # how long an ear that has passed something on waits for Redis to come back


class LeaderGone(Exception):
    """Nothing more will be heard. `claim` says whose the generation is now; None: ask."""

    def __init__(self, claim: Claim | None = None) -> None:
        super().__init__()
        self.claim = claim


class Ear:
    """Where the letters about one generation arrive. None among them: the line was cut, look for yourself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.words: asyncio.Queue[Said | Ended | None] = asyncio.Queue()

    async def next(self, timeout_s: float) -> Said | Ended | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self.words.get()
        except TimeoutError:
            return None


class Ears:
    """All the ears of a replica, by name."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._numbers = count()
        self._ears: dict[str, Ear] = {}

    def __len__(self) -> int:
        return len(self._ears)

    def open(self) -> Ear:
        ear = Ear(f"{self._replica}/{next(self._numbers)}")
        self._ears[ear.name] = ear
        return ear

    def close(self, ear: Ear) -> None:
        self._ears.pop(ear.name, None)

    def hear(self, word: Said | Ended) -> None:
        """Hand a letter to whom it is for, if there is such an ear still."""
        ear = self._ears.get(word.ear)
        if ear is not None:
            ear.words.put_nowait(word)

    def cut(self) -> None:
        """Letters cannot be read just now."""
        for ear in self._ears.values():
            ear.words.put_nowait(None)


class Following:
    """One generation of another replica, followed from its first delta."""

    def __init__(
        self,
        post: Post,
        ears: Ears,
        flight: str,
        claim: Follow,
        *,
        since: float,  # of the monotonic clock: when somebody began to ask for the answer
        has_told: Callable[[], bool],  # whether something was passed on: then there is no way back
    ) -> None:
        self._post = post
        self._ears = ears
        self._flight = flight
        self._claim = claim
        self._since = since
        self._has_told = has_told
        self._heard = 0
        self._last_sign = time.monotonic()
        self._asked_at = 0.0
        self._is_away = False
        self._is_over = False

    async def deltas(self, leave: Callable[[str, Leave], None]) -> AsyncGenerator[Delta, None]:
        """What the leader says. Raises `LeaderGone`, or the error that its generation ended with."""
        ear = self._ears.open()
        try:
            wait_s = await self._ask(ear, anew=True)
            while True:
                word = await ear.next(wait_s)
                if word is not None:
                    self._last_sign = time.monotonic()
                if isinstance(word, Said) and word.first <= self._heard:
                    new = word.deltas[self._heard - word.first :]
                    self._heard += len(new)
                    for delta in new:
                        yield delta
                    wait_s = await self._remind(ear)
                elif isinstance(word, Ended) and (word.why != "whole" or word.count == self._heard):
                    self._is_over = True
                    self._end(word)
                    return
                elif word is not None:  # something in between was lost
                    wait_s = await self._ask(ear, anew=True)
                else:
                    wait_s = await self._look(ear)
        finally:
            self._ears.close(ear)
            if not self._is_over:
                leave(self._claim.owner, Leave(self._flight, self._claim.token, ear.name))

    def _end(self, word: Ended) -> None:
        if word.why == "failed":
            raise word.error or BackendError("The generation failed.")
        if word.why != "whole":
            raise LeaderGone(Lead(0) if word.why == "refused" else None)

    async def _ask(self, ear: Ear, *, anew: bool) -> float:
        """Ask the leader to tell, or go on telling. Returns how long to wait for what comes."""
        want = Want(self._flight, self._claim.token, ear.name, self._heard, anew)
        try:
            await self._post.send(self._claim.owner, [want])
        except CacheError:
            return await self._wait_for_redis()
        self._asked_at = time.monotonic()
        self._is_away = False
        return max(SHORTEST_S, min(self._beat_s, self._claim.lapses_s + MARGIN_S))

    async def _remind(self, ear: Ear) -> float:
        """Say now and then that somebody listens."""
        if time.monotonic() - self._asked_at < self._beat_s:
            return self._beat_s
        return await self._ask(ear, anew=False)

    async def _look(self, ear: Ear) -> float:
        """It is silent: is the leader alive?"""
        if self._is_away:
            wait_s = await self._ask(ear, anew=True)
            return wait_s if self._is_away else self._post.lease_s  # the leader may be a little later to see it is back
        try:
            claim = await self._post.claim(self._flight, time.monotonic() - self._since)
        except CacheError:
            return await self._wait_for_redis()
        if isinstance(claim, Lead) or claim.token != self._claim.token:
            raise LeaderGone(claim)
        self._claim = claim
        return await self._ask(ear, anew=False)

    @property
    def _beat_s(self) -> float:
        return self._post.lease_s / 2

    async def _wait_for_redis(self) -> float:
        """Nobody can be asked: generate, unless a part was passed on, which is worth some patience."""
        is_late = time.monotonic() - self._last_sign > AWAY_LEASES * self._post.lease_s
        if not self._has_told() or is_late:
            raise LeaderGone(Lead(0))
        self._is_away = True
        await asyncio.sleep(SHORTEST_S)
        return 0.0
