"""All limits of a gateway: a thin shell over `buckets.py`, that knows where accounts and budgets are kept."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol

from backends.chat import Usage
from gateway.answers.base import CacheError
from gateway.errors import BudgetSpent, RateLimited
from gateway.live.prices import FREE as NO_PRICE
from gateway.live.prices import Prices
from gateway.metrics import Sample
from gateway.quota.admission import Admission, Subjects, Unlimited
from gateway.quota.buckets import Account, Entry, Moment, Need, Refusal, Sums, What, moment_of
from gateway.quota.file import BudgetFile
from gateway.quota.guess import Guess
from gateway.quota.local import LocalAccounts
from gateway.quota.policies import TenantPolicy
from gateway.settings.trust import Limits

MILLION = 1_000_000
KEEP_S = 2.0  # budgets are written down so often, while they change
ALONE = "Limited requests that were decided on without the other gateways"
UNTOLD = "Settlements that the other gateways were never told"
BestEffort = Callable[[str], AbstractContextManager[Any]]

SAID: Mapping[str, str] = {
    "requests": "{who} has reached its limit of requests per minute.",
    "concurrent": "{who} has as many requests under way as it may.",
    "tokens": "{who} has reached its limit of tokens per minute.",
    "day": "{who} has spent its tokens of this day (UTC).",
    "month": "{who} has spent its tokens of this month (UTC).",
    "money": "{who} has spent its money of this month (UTC).",
}

FIELDS: Mapping[What, str] = {
    "requests": "requests_per_minute",
    "concurrent": "concurrent",
    "tokens": "tokens_per_minute",
    "day": "tokens_per_day",
    "month": "tokens_per_month",
    "money": "money_per_month",
}


class Quota:
    """All limits of a gateway. Belongs to one event loop."""

    def __init__(
        self,
        prices: Prices | None = None,
        *,
        file: BudgetFile | None = None,
        shared: "SharedAccounts | None" = None,
        best_effort: BestEffort = nullcontext,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = LocalAccounts()
        self.refusals: Counter[str] = Counter()  # by what limit
        self.num_alone = 0  # requests that were decided on without the other gateways
        self._prices = prices
        self._file = file
        self._shared = shared
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

    async def take(self, subjects: Subjects, need: Need) -> tuple[Entry, str | None]:
        """Ask to enter: what came of it, and the lease where gateways share accounts."""
        moment = self.moment
        if self._shared is not None:
            try:
                accounts, entry, lease = await self._shared.enter(subjects, need, moment)
            except CacheError:
                self.num_alone += 1
            else:
                for (name, _), account in zip(subjects, accounts, strict=True):
                    self.accounts.learn(name, account)
                return entry, lease
        return self.accounts.enter(subjects, need, moment), None

    def give_back(self, subjects: Subjects, lease: str | None, held: Need, used: Sums) -> None:
        """A request that had entered has ended."""
        moment = self.moment
        if lease is None:
            self.accounts.settle(subjects, held, used, moment)
            held = Need()
        else:
            self.accounts.note(subjects, used, moment)
        if self._shared is not None:
            self._shared.settle(subjects, lease or "", held, used, moment)

    def charge(self, subjects: Subjects, used: Sums) -> None:
        """What was used for a request that has ended before."""
        moment = self.moment
        self.accounts.note(subjects, used, moment)
        if self._shared is not None:
            self._shared.settle(subjects, "", Need(), used, moment)

    async def account(self, subject: str, limits: Limits) -> Account:
        """What is known of one."""
        if self._shared is not None:
            with suppress(CacheError):
                return await self._shared.read(subject, limits, self.moment)
        return self.accounts.of(subject)

    def refused(self, refusal: Refusal, subjects: Subjects) -> RateLimited:
        """The error that says so, counted."""
        self.refusals[refusal.what] += 1
        kind = BudgetSpent if refusal.what in ("day", "month", "money") else RateLimited
        return kind(SAID[refusal.what].format(who=_who(subjects, refusal.what)), refusal.retry_after_s)

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

    async def tell(self) -> None:
        """Tell the other gateways, for ever."""
        if self._shared is not None:
            await self._shared.run()

    async def close(self) -> None:
        """Write down and tell what is owed."""
        await self.keep()
        if self._shared is not None:
            await self._shared.tell()

    async def keep(self) -> None:
        """Write down what changed since the last time; what cannot be written now is written later."""
        subjects, self.accounts.changed = self.accounts.changed, set()
        try:
            with self._best_effort("budget_write"):
                if self._file is not None and subjects:
                    changed = [(subject, self.accounts.of(subject)) for subject in subjects]
                    await self._file.save(changed, self.moment.month)
                subjects = set()
        finally:
            self.accounts.changed |= subjects

    def count(self, tenant: str) -> int:
        """How many accounts of a tenant and its keys are known."""
        return len(self._accounts_of(tenant))

    async def erase(self, tenant: str) -> int:
        """Let go of what is known of a tenant and its keys, here, in the file and in Redis. Raises `CacheError`."""
        names = self._accounts_of(tenant)
        count = sum(self.accounts.forget(name) for name in names)
        if self._file is not None:
            await self._file.forget(tenant)
        if self._shared is not None:
            await self._shared.tell()  # what is owed would be noted after
            await self._shared.forget([tenant, *(name for name in names if name != tenant)])
        return count

    def _accounts_of(self, tenant: str) -> list[str]:
        return [name for name, _ in self.accounts if name.partition("/")[0] == tenant]

    def samples(self) -> Iterator[Sample]:
        """What Prometheus is told."""
        for what in SAID:
            number = self.refusals[what]
            yield Sample("twicetold_limited", "Requests a limit refused", number, (("limit", what),), is_total=True)
        if self._shared is not None:
            yield Sample("twicetold_limits_alone", ALONE, self.num_alone, is_total=True)
            yield Sample("twicetold_limits_untold", UNTOLD, self._shared.num_dropped, is_total=True)


def _who(subjects: Subjects, what: What) -> str:
    """Whose limit it is that was reached: the tenant's, or its key's, where only one of them has such a limit."""
    limited = {"/" in name for name, limits in subjects if getattr(limits, FIELDS[what]) is not None}
    if len(limited) != 1:
        return "This key, or its tenant,"
    return "This key" if limited.pop() else "This tenant"


class SharedAccounts(Protocol):
    """The accounts of all gateways together."""

    num_dropped: int

    async def enter(self, subjects: Subjects, need: Need, moment: Moment) -> tuple[list[Account], Entry, str]:
        """Ask to enter: how things stand, what came of it, and the lease. Raises `CacheError`."""

    def settle(self, subjects: Subjects, lease: str, held: Need, used: Sums, moment: Moment) -> None:
        """A request has ended. It is told behind its back."""

    async def read(self, name: str, limits: Limits, moment: Moment) -> Account:
        """How things stand with one. Raises `CacheError`."""

    async def forget(self, names: Sequence[str]) -> None:
        """Let go of what is known of these. Raises `CacheError`."""

    async def tell(self) -> bool:
        """Tell what is owed; whether all of it is told."""

    async def run(self) -> None:
        """Tell what is owed, and renew leases, for ever."""
