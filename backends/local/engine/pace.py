"""How many drafts pay: what they may bring against what their rows cost, as measured while the engine runs.

A decode forward of `b` sequences has `b` rows and one more for every draft. The drafts of all sequences compete: they
are admitted in the order of their chance to hold, and as many of them as bring the most tokens per second. That is
TurboSpec's goodput (Liu et al. 2024, arXiv 2406.14066), with the cost of a row measured here instead of fitted before:
on a processor eight rows may cost one and a tenth or three times as much as one, by model, precision and batch.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

LADDER = (0, 1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63)  # numbers of drafts in one forward
HOPE = 0.03  # of a forward of one sequence: what a row is thought to cost before it is measured
FIRST_TRY = 7  # drafts at most while no more are measured; then twice as many
STALE = 256  # forwards per time it was measured after which a cost is half believed; measured once, so from the start
LONG_KNOWN = 8  # times
PLAIN = 32  # forwards after which one without drafts is made, to know what it costs now
GAIN = 1.05  # hoped for, at least: of several chances guessed from a few tokens the luckiest is taken
SAMPLES = 9
RECKON_EVERY, RECKON_SELDOM = 4, 32  # forwards: at first, and of a hundred or more


@dataclass(slots=True)
class Cost:
    """The last few times a forward of one size took. The first one ever is slower than the rest, and not kept."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))  # or times a forward without drafts
    times: int = 0
    number: int = 0  # of the forward it was measured at

    def note(self, seconds: float, number: int) -> None:
        if self.times:
            self.seconds.append(seconds)
        self.times, self.number = self.times + 1, number

    @property
    def quartile(self) -> float | None:
        """The lower one: what disturbs a forward makes it slower. None before there is any."""
        return _quartile(sorted(self.seconds)) if self.seconds else None


class Pace:
    """What decode forwards take, by sequences and drafts in them."""

    def __init__(self) -> None:
        self._plain: dict[int, tuple[float, float]] = {}  # sequences -> lower quartile and median without drafts
        self._costs: dict[int, dict[int, Cost]] = {}  # sequences -> drafts -> cost
        self._numbers: dict[int, int] = {}  # sequences -> forwards
        self._reckoned: dict[int, tuple[int, Sequence[tuple[int, float]]]] = {}  # sequences -> when, and what

    def note(self, sequences: int, drafts: int, seconds: float | None) -> None:
        """Take in one forward, with what comes before and after it; None where that tells nothing of its cost."""
        number = self._numbers[sequences] = self._numbers.get(sequences, 0) + 1
        if seconds is None:
            return
        costs = self._costs.setdefault(sequences, {})
        plain = self._plain.get(sequences)
        if not drafts:
            cost = costs.setdefault(0, Cost())
            cost.note(seconds, number)
            if ordered := sorted(cost.seconds):
                self._plain[sequences] = _quartile(ordered), ordered[len(ordered) // 2]
        elif plain is not None:  # as a ratio: the machine may be twice as fast next minute
            costs.setdefault(drafts, Cost()).note(seconds / plain[0], number)

    def wants_plain(self, sequences: int) -> bool:
        """Whether a forward without drafts has to be measured: none was yet, or not for long."""
        known = self._costs.get(sequences, {}).get(0)
        return known is None or not known.seconds or self._numbers[sequences] - known.number >= PLAIN

    def plain_s(self, sequences: int) -> float | None:
        """What a forward without drafts takes, at the median; None before one was measured."""
        plain = self._plain.get(sequences)
        return plain[1] if plain is not None else None

    def allot(self, chances: Sequence[Sequence[float]]) -> list[int]:
        """How many drafts of each sequence to check now, given that its first one holds, its first two...

        None at all while a forward without drafts has not been measured, or not for long.
        """
        sequences = len(chances)
        steps = self._known_steps(sequences)
        taken = [0] * sequences
        if not steps:
            return taken
        ranked = sorted([(chance, i) for i, each in enumerate(chances) for chance in each], reverse=True)
        tokens, best, rate = float(sequences), 0, GAIN * sequences / steps[0][1]
        brought = [tokens := tokens + chance for chance, _ in ranked]
        for drafts, seconds in steps[1:]:
            if drafts > len(ranked):
                break
            if brought[drafts - 1] > rate * seconds:
                best, rate = drafts, brought[drafts - 1] / seconds
        for _, i in ranked[:best]:
            taken[i] += 1
        return taken

    def _known_steps(self, sequences: int) -> Sequence[tuple[int, float]]:
        """`_steps` of not long ago."""
        number = self._numbers.get(sequences, 0)
        known = self._reckoned.get(sequences)
        if known is None or not known[1] or number >= known[0] + min(RECKON_SELDOM, RECKON_EVERY + number // 4):
            known = self._reckoned[sequences] = (number, self._steps(sequences))
        return known[1]

    def _steps(self, sequences: int) -> list[tuple[int, float]]:
        """What a forward is thought to take, for each rung of the ladder; empty when none without drafts is known."""
        costs = self._costs.get(sequences, {})
        number = self._numbers.get(sequences, 0)
        plain = costs.get(0)
        base = plain.quartile if plain is not None else None
        if plain is None or base is None or number - plain.number >= PLAIN:
            return []
        known = [(0, base)]
        weights = [SAMPLES]
        for drafts in LADDER[1:]:
            cost = costs.get(drafts)
            if cost is not None and (ratio := cost.quartile) is not None:
                measured = ratio * base
                hope, times = _hope(base, drafts, sequences), len(cost.seconds)
                age = (number - cost.number) / (STALE * min(cost.times, LONG_KNOWN))
                faith = min(1.0, (times + 1) / 4) * 0.5**age
                known.append((drafts, measured if measured < hope else hope + (measured - hope) * faith))
                weights.append(times)
        known = _rising(known, weights)
        most = max(FIRST_TRY, 2 * known[-1][0] + 1)
        return [(drafts, _between(known, drafts, base / sequences)) for drafts in LADDER if drafts <= most]


def _quartile(ordered: Sequence[float]) -> float:
    return ordered[(len(ordered) - 1) // 4]


def _hope(base: float, drafts: int, sequences: int) -> float:
    return base * (1 + HOPE * drafts / sequences)


def _rising(known: Sequence[tuple[int, float]], weights: Sequence[int]) -> list[tuple[int, float]]:
    """The same where more drafts never take less: what says otherwise is noise, and is averaged (isotonic regression).

    Else the size that was lucky when it was measured would win. What was measured more often counts for more.
    """
    pools: list[tuple[float, int, int]] = []  # weighed seconds of neighbours together, their weights, how many they are
    for (_, seconds), weight in zip(known, weights, strict=True):
        pools.append((seconds * weight, weight, 1))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            last, more, count = pools.pop()
            pools[-1] = (pools[-1][0] + last, pools[-1][1] + more, pools[-1][2] + count)
    risen = [total / weight for total, weight, count in pools for _ in range(count)]
    return [(drafts, seconds) for (drafts, _), seconds in zip(known, risen, strict=True)]


def _between(known: Sequence[tuple[int, float]], drafts: int, one: float) -> float:
    """Seconds of `drafts`: measured, on the line between two measured ones, or hoped beyond the last."""
    right = bisect_left(known, (drafts, 0.0))
    if right == len(known):
        last, seconds = known[-1]
        return seconds + one * HOPE * (drafts - last)
    (after, high), (before, low) = known[right], known[max(0, right - 1)]
    return high if after == drafts else low + (high - low) * (drafts - before) / (after - before)
