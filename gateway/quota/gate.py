"""Where limited requests go in and out: a thin shell over `buckets.py`.

    async with quota.enter(policy, guess) as admission:
        admission.check()                        429 when a limit is reached
        controls = admission.clamp(controls)     without tokens left, what is stored is still given
        admission.check_shortage(controls)       ... and what is not, is a 429
        admission.settle(usage, is_hit=...)      what it used; what is not settled used nothing
        admission.headers(dialect)               how much is left, on every response

Whoever has no limits passes by all of it. What was held is given back however the request ends.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any

from backends.chat import Usage
from gateway.controls import Controls
from gateway.errors import BudgetSpent, RateLimited
from gateway.live.prices import FREE as NO_PRICE
from gateway.live.prices import Prices
from gateway.quota.buckets import Account, Entry, Moment, Need, Refusal, Standing, Sums, moment_of
from gateway.quota.file import BudgetFile
from gateway.quota.guess import Guess
from gateway.quota.local import LocalAccounts
from gateway.quota.policies import TenantPolicy
from gateway.quota.told import Dialect, Header, headers_of
from gateway.settings.trust import Limits

MILLION = 1_000_000
KEEP_S = 2.0  # budgets are written down so often, while they change
NOBODYS = Standing()
FREE_ENTRY = Entry(None, None, NOBODYS)
Subjects = Sequence[tuple[str, Limits]]
BestEffort = Callable[[str], AbstractContextManager[Any]]

SAID: Mapping[str, str] = {
    "requests": "This key has reached its limit of requests per minute.",
    "concurrent": "This key has as many requests under way as it may.",
    "tokens": "This key has reached its limit of tokens per minute.",
    "day": "This key has spent its tokens of this day (UTC).",
    "month": "This key has spent its tokens of this month (UTC).",
    "money": "This key has spent its money of this month (UTC).",
}


class Admission:
    """One request's way through."""

    def __init__(self, quota: "Quota", subjects: Subjects, guess: Guess) -> None:
        self._quota = quota
        self._subjects = subjects
        self._guess = guess
        self._counts_hits = any(limits.count_hits for _, limits in subjects)
        self._entry = FREE_ENTRY
        self._held = Need()
        self._used: Sums | None = None

    async def __aenter__(self) -> "Admission":
        self._held = self._quota.need_of(self._guess)
        self._entry = await self._quota.take(self._subjects, self._held)
        if self._entry.shortage is not None:
            self._held = Need()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entry.refusal is not None:
            return
        if self._used is None and isinstance(error, asyncio.CancelledError) and self._held.tokens:
            self.settle(None, is_hit=False, model=self._guess.model)  # who left while a model read the prompt
        self._quota.give_back(self._subjects, self._held, self._used or Sums(requests=1))

    def check(self) -> None:
        """Raises `RateLimited`, when this request may not go on."""
        if self._entry.refusal is not None:
            raise self._quota.refused(self._entry.refusal)

    def clamp(self, controls: Controls) -> Controls:
        """The controls of a request for which no model may work: what is stored may still be given."""
        if self._entry.shortage is None:
            return controls
        return replace(controls, only_if_cached=True, stale_s=0.0)

    def check_shortage(self, controls: Controls) -> None:
        """Why there is nothing but what is stored, for who asked for more: raises `RateLimited`."""
        if self._entry.shortage is not None and not controls.only_if_cached:
            raise self._quota.refused(self._entry.shortage)

    def settle(self, usage: Usage | None, *, is_hit: bool, model: str, num_pieces: int = 0) -> None:
        """What it used; said again, the last word counts. Of an answer that was broken off nobody told the usage: it
        is guessed from the number of its pieces."""
        usage = usage or Usage(self._guess.prompt_tokens, num_pieces)
        counts = not is_hit or self._counts_hits
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

    def settle(self, usage: Usage | None, *, is_hit: bool, model: str, num_pieces: int = 0) -> None:
        pass


class Quota:
    """All limits of a gateway. Belongs to one event loop."""

    def __init__(
        self,
        prices: Prices | None = None,
        *,
        file: BudgetFile | None = None,
        best_effort: BestEffort = nullcontext,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = LocalAccounts()
        self.refusals: Counter[str] = Counter()  # by what limit
        self._prices = prices
        self._file = file
        self._best_effort = best_effort
        self._now = now
        self._unlimited = Unlimited(self, (), Guess(""))

    def enter(self, policy: TenantPolicy, guess: Callable[[], Guess]) -> Admission:
        """The way in for one request; what it will use is guessed where that is asked."""
        return Admission(self, policy.limits, guess()) if policy.limits else self._unlimited

    @property
    def now_s(self) -> float:
        return self._now()

    @property
    def moment(self) -> Moment:
        return moment_of(self._now())

    async def take(self, subjects: Subjects, need: Need) -> Entry:
        """Ask to enter."""
        return self.accounts.enter(subjects, need, self.moment)

    async def account(self, subject: str) -> Account:
        """What is known of one."""
        return self.accounts.of(subject)

    def give_back(self, subjects: Subjects, held: Need, used: Sums) -> None:
        """A request that had entered has ended."""
        self.accounts.settle(subjects, held, used, self.moment)

    def refused(self, refusal: Refusal) -> RateLimited:
        """The error that says so, counted."""
        self.refusals[refusal.what] += 1
        kind = BudgetSpent if refusal.what in ("day", "month", "money") else RateLimited
        return kind(SAID[refusal.what], refusal.retry_after_s)

    def need_of(self, guess: Guess) -> Need:
        """What a request is guessed to use."""
        usage = Usage(guess.prompt_tokens, guess.completion_tokens)
        return Need(guess.prompt_tokens + guess.completion_tokens, self.money_of(guess.model, usage))

    def money_of(self, model: str, usage: Usage) -> float:
        """What tokens cost; nothing where nobody gave a price."""
        price = (self._prices.of(model) if self._prices is not None else None) or NO_PRICE
        computed = max(0, usage.prompt_tokens - usage.cached_tokens)
        cost = computed * price.prompt + usage.cached_tokens * price.cached_prompt
        return (cost + usage.completion_tokens * price.completion) / MILLION

    # -- where budgets are kept --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Know what was used before the start."""
        if self._file is not None:
            with self._best_effort("budget_read"):
                for subject, account in await self._file.load():
                    self.accounts.put(subject, account)

    async def follow(self) -> None:
        """Keep what changes, for ever."""
        while True:
            await asyncio.sleep(KEEP_S)
            await self.keep()

    async def keep(self) -> None:
        """Write down what changed since the last time; what cannot be written now is written later."""
        if self._file is None or not self.accounts.changed:
            return
        subjects, self.accounts.changed = self.accounts.changed, set()
        changed = [(subject, self.accounts.of(subject)) for subject in subjects]
        try:
            with self._best_effort("budget_write"):
                await self._file.save(changed, self.moment.month)
                subjects = set()
        finally:
            self.accounts.changed |= subjects

    async def forget(self, subjects: Collection[str]) -> int:
        """Let go of what is known of these; how many there were. Raises `CacheError`."""
        if self._file is not None:
            await self._file.forget(subjects)
        return sum(self.accounts.forget(subject) for subject in subjects)
