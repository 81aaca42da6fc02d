"""How much one subject has used, and whether it may have more. Pure: values in, values out; `shared/quota.py` says the
same in Lua, and a test holds the two together.

By the minute: what was used drains at the rate of the limit, so there is no edge of a minute at which all of it is
back. What a request will use is guessed when it enters and set right when it ends; who used more than was guessed goes
on when that has drained. By the day and the month (UTC): sums that are open until they are reached, so they are
overdrawn by the requests of one moment at most.

    used of a minute   0 ....... drained ....... used ... held by requests under way ... limit
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from gateway.settings.trust import Limits

MINUTE_S = 60.0
DAY_S = 86_400
CONCURRENT_RETRY_S = 1.0  # nobody knows when a request under way will end

What = Literal["requests", "concurrent", "tokens", "day", "month", "money"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: as seconds, and as the days and months that are counted."""

    now_s: float
    day: int
    month: int
    day_ends_s: float
    month_ends_s: float


def moment_of(now_s: float) -> Moment:
    """Of unix time."""
    day = int(now_s // DAY_S)
    return Moment(now_s, day, *_calendar(day))


@lru_cache(maxsize=8)
def _calendar(day: int) -> tuple[int, float, float]:
    """The month of a day, and when both end."""
    date = datetime.fromtimestamp(day * DAY_S, UTC)
    first = datetime(date.year, date.month, 1, tzinfo=UTC)
    ends = (first + timedelta(days=32)).replace(day=1)
    return date.year * 12 + date.month - 1, (day + 1) * DAY_S, ends.timestamp()


@dataclass(frozen=True, slots=True)
class Sums:
    """What a request, or all of a time, used. Stored answers are requests and hits."""

    requests: int = 0
    hits: int = 0
    tokens: int = 0
    money: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.requests + other.requests,
            self.hits + other.hits,
            self.tokens + other.tokens,
            self.money + other.money,
        )

    def at_least(self, other: "Sums") -> "Sums":
        """The same request, with no fewer tokens and no less money than the other had of it."""
        return replace(self, tokens=max(self.tokens, other.tokens), money=max(self.money, other.money))


@dataclass(frozen=True, slots=True)
class Window:
    """The sums of one day or month, by its number."""

    number: int = 0
    sums: Sums = field(default_factory=Sums)

    def at(self, number: int) -> "Window":
        """The same, or a new one. A clock that is a little behind, as another gateway's may be, opens none."""
        return self if self.number in (number, number + 1) else Window(number)


@dataclass(frozen=True, slots=True)
class Need:
    """What a request is guessed to use."""

    tokens: int = 0
    money: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """One subject's."""

    at_s: float = 0.0
    requests: float = 0.0  # used of the minute
    tokens: float = 0.0  # likewise, with what is held
    running: int = 0
    held: Need = field(default_factory=Need)  # by requests under way, for the sums
    day: Window = field(default_factory=Window)
    month: Window = field(default_factory=Window)

    def at(self, limits: Limits, moment: Moment) -> "Account":
        """As it is now. A clock that went back far is followed."""
        passed_s = max(0.0, moment.now_s - self.at_s)
        at_s = moment.now_s if moment.now_s < self.at_s - MINUTE_S else max(self.at_s, moment.now_s)
        return Account(
            at_s,
            _drained(self.requests, limits.requests_per_minute, passed_s),
            _drained(self.tokens, limits.tokens_per_minute, passed_s),
            self.running,
            self.held,
            self.day.at(moment.day),
            self.month.at(moment.month),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which limit is reached, and when there is more."""

    what: What
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Room:
    """What a header says of one limit; reset: until all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The tightest limits of a caller; None where there is none."""

    requests: Room | None = None
    tokens: Room | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What came of asking to enter."""

    refusal: Refusal | None  # it may not
    shortage: Refusal | None  # it may have what is stored, and nothing is held for it
    standing: Standing


def enter(
    accounts: Sequence[Account], limits: Sequence[Limits], need: Need, moment: Moment
) -> tuple[list[Account], Entry]:
    """One request of every one of the subjects (a tenant, its key): all take part in it, or none."""
    now = [account.at(limit, moment) for account, limit in zip(accounts, limits, strict=True)]
    pairs = list(zip(now, limits, strict=True))
    hard = [refusal for pair in pairs for refusal in _hard(*pair)]
    short = [refusal for pair in pairs for refusal in _short(*pair, need, moment)]
    if any(limit.count_hits and _short(account, limit, need, moment) for account, limit in pairs):
        hard += short
    if hard:
        return now, Entry(_latest(hard), None, standing_of(now, limits, moment))
    held = Need() if short else need
    after = [
        replace(
            one,
            requests=one.requests + 1,
            tokens=one.tokens + held.tokens,
            running=one.running + 1,
            held=Need(one.held.tokens + held.tokens, one.held.money + held.money),
        )
        for one in now
    ]
    return after, Entry(None, _latest(short) if short else None, standing_of(after, limits, moment))


def settle(account: Account, limits: Limits, held: Need, used: Sums, moment: Moment) -> Account:
    """A request ended: what it held is given back, what it used is counted."""
    now = account.at(limits, moment)
    return replace(
        now,
        tokens=max(0.0, now.tokens - held.tokens + used.tokens),
        running=max(0, now.running - 1),
        held=Need(max(0, now.held.tokens - held.tokens), max(0.0, now.held.money - held.money)),
        day=replace(now.day, sums=now.day.sums + used),
        month=replace(now.month, sums=now.month.sums + used),
    )


def standing_of(accounts: Sequence[Account], limits: Sequence[Limits], moment: Moment) -> Standing:
    """What is left, of the tightest limits."""
    requests, tokens = [], []
    for account, limit in zip(accounts, limits, strict=True):
        if limit.requests_per_minute is not None:
            requests.append(_minute(account.requests, limit.requests_per_minute))
        if limit.tokens_per_minute is not None:
            tokens.append(_minute(account.tokens, limit.tokens_per_minute))
        spent = account.held.tokens
        if limit.tokens_per_day is not None:
            left = limit.tokens_per_day - spent - account.day.sums.tokens
            tokens.append(Room(limit.tokens_per_day, max(0, left), moment.day_ends_s - moment.now_s))
        if limit.tokens_per_month is not None:
            left = limit.tokens_per_month - spent - account.month.sums.tokens
            tokens.append(Room(limit.tokens_per_month, max(0, left), moment.month_ends_s - moment.now_s))
    return Standing(min(requests, key=_remaining, default=None), min(tokens, key=_remaining, default=None))


def _remaining(room: Room) -> int:
    return room.remaining


def _minute(used: float, limit: int) -> Room:
    reset_s = used / limit * MINUTE_S if limit else MINUTE_S
    return Room(limit, max(0, int(limit - used)), reset_s)


def _drained(used: float, limit: int | None, passed_s: float) -> float:
    return 0.0 if limit is None else max(0.0, used - passed_s * limit / MINUTE_S)


def _hard(account: Account, limits: Limits) -> list[Refusal]:
    """What holds for every request, stored answer or not."""
    found = []
    if (most := limits.requests_per_minute) is not None and account.requests + 1 > most:
        found.append(Refusal("requests", _wait_s(account.requests + 1 - most, most)))
    if limits.concurrent is not None and account.running >= limits.concurrent:
        found.append(Refusal("concurrent", CONCURRENT_RETRY_S))
    return found


def _short(account: Account, limits: Limits, need: Need, moment: Moment) -> list[Refusal]:
    """What holds for a request that has a model work."""
    found = []
    held, day, month = account.held, account.day.sums, account.month.sums
    if (most := limits.tokens_per_minute) is not None:
        over = account.tokens + min(need.tokens, most) - most  # a request larger than the limit waits for all of it
        if over > 0 or most == 0:
            found.append(Refusal("tokens", _wait_s(over, most)))
    if limits.tokens_per_day is not None and day.tokens + held.tokens >= limits.tokens_per_day:
        found.append(Refusal("day", moment.day_ends_s - moment.now_s))
    if limits.tokens_per_month is not None and month.tokens + held.tokens >= limits.tokens_per_month:
        found.append(Refusal("month", moment.month_ends_s - moment.now_s))
    if limits.money_per_month is not None and month.money + held.money >= limits.money_per_month:
        found.append(Refusal("money", moment.month_ends_s - moment.now_s))
    return found


def _wait_s(over: float, most: int) -> float:
    return max(0.0, over) / most * MINUTE_S if most else MINUTE_S


def _latest(refusals: Sequence[Refusal]) -> Refusal:
    return max(refusals, key=lambda refusal: refusal.retry_after_s)
