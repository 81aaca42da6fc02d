"""How many wrong hits a target allows.

The promise is about what happens: of the hits served, at most `target` are wrong. Two things stand between a target
and a threshold. Hits are few at first, and one wrong among fifty is 2 % already; and nobody knows what a hit is, it is
believed to be wrong with some chance (`calibration.py` says how far beliefs can be trusted). A `Ledger` keeps account:

    spent       the sum of these chances over the hits served
    noise       what even the surest may be wrong beyond belief: labels that contradict each other, answers that differ
                where no word does. Learned from outcomes of sure hits that were generated all the same, and charged to
                every hit, those of the past included
    owed        what users said of hits, beyond what was believed of them. To stay shut repays nothing, sure hits do: so
                while it leaves no room, hits half as doubtful as the target still have some
    allowance   the largest sum at which more than `target * hits` wrong ones are still unlikely

A hit is served when its own chance still has room. So the threshold is strict while hits are few and comes near the
target as they add up. The limit is Garwood's (1936), the Poisson form of Clopper and Pearson (1934), turned around:
they bound a rate given counted events, this bounds events to come given believed rates. A sum of unequal chances strays
less than a Poisson count of the same mean (Hoeffding 1956): the bound errs on the safe side.
"""

from collections.abc import Callable
from functools import lru_cache

from embeddings.control.curves import beta_cdf, gamma_cdf

AHEAD = 0.5  # wrong hits' worth of hits that what is left must last for: 50 hits at 1 %
CONFIDENCE = 0.85  # that an account spent to its end keeps the target; what is believed of hits errs on the safe side
SHARE = 2.0  # of these a single hit may take so many shares: better many sure hits than one doubtful
DOUBTFUL = 2.0  # and it may be so many times as likely to be wrong as the target says
SURE = 0.004  # chance of being wrong up to which an outcome is about noise
NOISE = 0.0015  # believed before the first such outcome
NOISE_AS = 100.0  # outcomes that this belief counts as
REPAYS = 0.5  # of the target: a hit this sure brings the rate of an account in debt down
MEMORY = 4000.0  # hits after which an old one counts a third: what was saved long ago is no licence for today
_NEAR = 1e-13


def clopper_pearson(wrong: float, n: float, confidence: float) -> tuple[float, float]:
    """Lower and upper one-sided bounds, each at `confidence`, of a rate of which `n` labels showed `wrong`."""
    if not 0 <= wrong <= n:
        raise ValueError(f"{wrong} wrong of {n}")
    lower = 0.0 if wrong <= 0 else _where(lambda x: beta_cdf(x, wrong, n - wrong + 1.0), 1.0 - confidence, 1.0)
    upper = 1.0 if wrong >= n else _where(lambda x: beta_cdf(x, wrong + 1.0, n - wrong), confidence, 1.0)
    return lower, upper


@lru_cache(maxsize=65536)
def allowance(hits: int, target: float, confidence: float) -> float:
    """The largest mean of a Poisson count that stays at or under `target * hits` with `confidence`.

    Where the target times the hits is not whole, the limits beside it are joined smoothly.
    """
    events = target * hits + 1.0
    return _where(lambda mean: gamma_cdf(mean, events), 1.0 - confidence, events)


class Ledger:
    """The account of one target."""

    def __init__(self, target: float) -> None:
        if not 0.0 < target < 1.0:
            raise ValueError(f"target {target}")
        self._target = target
        self._hits = self._spent = self._owed = 0.0
        self._sure = self._surprise = 0.0

    @property
    def noise(self) -> float:
        """The chance of being wrong that even the surest hit has."""
        return (NOISE * NOISE_AS + max(0.0, self._surprise)) / (NOISE_AS + self._sure)

    @property
    def room(self) -> float:
        """The largest chance of being wrong that the next hit may have."""
        spent = self._spent + self._hits * self.noise
        most = self._most(spent + self._owed)
        if self._owed > 0.0:
            most = max(most, min(self._most(spent), REPAYS * self._target))
        return max(0.0, most - self.noise)

    def serve(self, chance_wrong: float) -> None:
        """A hit was served."""
        fading = 1.0 - 1.0 / MEMORY
        self._hits = self._hits * fading + 1.0
        self._spent = self._spent * fading + chance_wrong
        self._owed *= fading

    def saw(self, chance_wrong: float, *, is_right: bool) -> None:
        """What might have been served was generated, and its outcome is known."""
        if chance_wrong <= SURE:
            fading = 1.0 - 1.0 / MEMORY
            self._sure = self._sure * fading + 1.0
            self._surprise = self._surprise * fading + (0.0 if is_right else 1.0) - chance_wrong

    def correct(self, chance_wrong: float, *, is_right: bool) -> None:
        """A hit that was served is known now."""
        self._owed += (0.0 if is_right else 1.0) - chance_wrong

    def revise(self, *, is_right: bool) -> None:
        """What was known of a hit is now said to be the opposite."""
        self._owed += -1.0 if is_right else 1.0

    def _most(self, spent: float) -> float:
        ahead = max(1, round(AHEAD / self._target))
        now, soon = (allowance(int(self._hits) + n, self._target, CONFIDENCE) for n in (1, ahead))
        spent = max(0.0, spent)
        return min(1.0, now - spent, (soon - spent) * SHARE / ahead, DOUBTFUL * self._target)


def _where(rising: Callable[[float], float], value: float, high: float) -> float:
    """Where between 0 and `high` a rising function takes `value`: by secants that close in from both sides (Pegasus,
    Dowell and Jarratt 1972) in a tenth of a bisection's steps. Every hit asks for another limit."""
    low, below, above = 0.0, rising(0.0) - value, rising(high) - value
    if below >= 0.0 or above <= 0.0:
        return low if below >= 0.0 else high
    for _ in range(100):
        at = high - above * (high - low) / (above - below)
        if not low < at < high:
            at = (low + high) / 2
        found = rising(at) - value
        if found < 0.0:
            low, above, below = at, above * below / (below + found), found
        else:
            high, below, above = at, below * above / (above + found), found
        if found == 0.0 or high - low < _NEAR * max(high, 1e-3):
            break
    return at if found == 0.0 else (low + high) / 2
