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
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from backends.chat import Usage
from gateway.controls import Controls
from gateway.errors import BudgetSpent, RateLimited
from gateway.live.prices import FREE as NO_PRICE
from gateway.live.prices import Prices
from gateway.quota.buckets import Entry, Moment, Need, Refusal, Standing, Sums, moment_of
from gateway.quota.guess import Guess
from gateway.quota.local import LocalAccounts
from gateway.quota.policies import TenantPolicy
from gateway.quota.told import Dialect, Header, headers_of
from gateway.settings.trust import Limits

MILLION = 1_000_000
NOBODYS = Standing()
FREE_ENTRY = Entry(None, None, NOBODYS)
Subjects = Sequence[tuple[str, Limits]]

_SAID = {
    "requests": "{who} has reached its limit of requests per minute.",
    "concurrent": "{who} has as many requests under way as it may.",
    "tokens": "{who} has reached its limit of tokens per minute.",
    "day": "{who} has spent its tokens of this day (UTC).",
    "month": "{who} has spent its tokens of this month (UTC).",
    "money": "{who} has spent its money of this month (UTC).",
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
            raise refused(self._entry.refusal)

    def clamp(self, controls: Controls) -> Controls:
        """The controls of a request for which no model may work: what is stored may still be given."""
        if self._entry.shortage is None:
            return controls
        return replace(controls, only_if_cached=True, stale_s=0.0)

    def check_shortage(self, controls: Controls) -> None:
        """Why there is nothing but what is stored, for who asked for more: raises `RateLimited`."""
        if self._entry.shortage is not None and not controls.only_if_cached:
            raise refused(self._entry.shortage)

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
        accounts: LocalAccounts | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = accounts or LocalAccounts()
        self._unlimited = Unlimited(self, (), Guess(""))
        self._prices = prices
        self._now = now

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

    def give_back(self, subjects: Subjects, held: Need, used: Sums) -> None:
        """A request that had entered has ended."""
        self.accounts.settle(subjects, held, used, self.moment)

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


def refused(refusal: Refusal) -> RateLimited:
    """The error that says so."""
    kind = BudgetSpent if refusal.what in ("day", "month", "money") else RateLimited
    return kind(_SAID[refusal.what].format(who="This key"), refusal.retry_after_s)
