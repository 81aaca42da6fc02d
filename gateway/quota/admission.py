"""One limited request's way in and out.

    async with quota.enter(policy, guess) as admission:
        admission.check()                        429 when a limit is reached
        controls = admission.clamp(controls)     without tokens left, what is stored is still given
        admission.check_shortage(controls)       ... and what is not, is a 429
        pipeline.answer(..., tab=admission.open_tab())   what it has generated is paid for when that ends
        admission.settle(usage, is_hit=...)      what it used; what is not settled used nothing
        admission.headers(dialect)               how much is left, on every response

Whoever has no limits passes by all of it. What was held is given back however the request ends.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from backends.chat import Usage
from gateway.controls import Controls
from gateway.quota.buckets import Entry, Need, Standing, Sums
from gateway.quota.guess import Guess
from gateway.quota.tab import Tab
from gateway.quota.told import Dialect, Header, headers_of
from gateway.settings.trust import Limits

if TYPE_CHECKING:
    from gateway.quota.gate import Quota

NOBODYS = Standing()
FREE_ENTRY = Entry(None, None, NOBODYS)
Subjects = Sequence[tuple[str, Limits]]


class Admission:
    """One request's way through."""

    def __init__(self, quota: "Quota", subjects: Subjects, guess: Guess) -> None:
        self._quota = quota
        self._subjects = subjects
        self._guess = guess
        self._counts_hits = any(limits.count_hits for _, limits in subjects)
        self._entry = FREE_ENTRY
        self._held = Need()
        self._lease: str | None = None
        self._used: Sums | None = None
        self._tab: Tab | None = None
        self._is_by_tab = True  # where there is one: what is generated is all that it pays for

    async def __aenter__(self) -> "Admission":
        self._held = self._quota.need_of(self._guess)
        self._entry, self._lease = await self._quota.take(self._subjects, self._held)
        if self._entry.shortage is not None:
            self._held = Need()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entry.refusal is not None:
            return
        is_left = isinstance(error, asyncio.CancelledError)
        if self._used is None and self._tab is None and is_left and self._held.tokens:
            self.settle(None, is_hit=False, model=self._guess.model)  # who left while a model read the prompt
        used = self._used or Sums(requests=1)
        if self._tab is not None:
            made = self._tab.close()
            used = used + made if self._is_by_tab else used.at_least(made)
        self._quota.give_back(self._subjects, self._lease, self._held, used)

    def check(self) -> None:
        """Raises `RateLimited`, when this request may not go on."""
        if self._entry.refusal is not None:
            raise self._quota.refused(self._entry.refusal, self._subjects)

    def clamp(self, controls: Controls) -> Controls:
        """The controls of a request for which no model may work: what is stored may still be given."""
        if self._entry.shortage is None:
            return controls
        return replace(controls, only_if_cached=True, stale_s=0.0)

    def check_shortage(self, controls: Controls) -> None:
        """Why there is nothing but what is stored, for who asked for more: raises `RateLimited`."""
        if self._entry.shortage is not None and not controls.only_if_cached:
            raise self._quota.refused(self._entry.shortage, self._subjects)

    def open_tab(self) -> Tab | None:
        """Where to put what is generated for it: it pays for that, and of what it is given only where hits count."""
        self._tab = self._tab or Tab(self._quota, self._subjects)
        return self._tab

    def settle(self, usage: Usage | None, *, is_hit: bool, model: str, num_pieces: int = 0) -> None:
        """What it used; said again, the last word counts. Of an answer that was broken off nobody told the usage: it
        is guessed from the number of its pieces."""
        is_whole = usage is not None
        usage = usage or Usage(self._guess.prompt_tokens, num_pieces)
        if self._tab is None:
            counts = not is_hit or self._counts_hits
        else:
            counts = self._counts_hits and (is_hit or is_whole)
            self._is_by_tab = not counts
        tokens = usage.prompt_tokens + usage.completion_tokens if counts else 0
        money = self._quota.money_of(model, usage) if counts else 0.0
        self._used = Sums(requests=1, hits=int(is_hit), tokens=tokens, money=money)

    def headers(self, dialect: Dialect) -> list[Header]:
        """How much is left, in the names of an API."""
        standing = self._entry.standing
        return [] if standing is NOBODYS else headers_of(standing, dialect, self._quota.now_s)


class Unlimited(Admission):
    """The way of whoever has no limits. One for all: nothing is noted in it."""

    async def __aenter__(self) -> Admission:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def open_tab(self) -> None:
        return None

    def settle(self, usage: Usage | None, *, is_hit: bool, model: str, num_pieces: int = 0) -> None:
        pass
