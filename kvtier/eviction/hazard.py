"""How likely a block is to be found again, by how long ago it was used, and what a place in the pool is worth for it.

Ages fall into bins that grow by a half power of two. A curve is learned from intervals between two uses of a block:
those that ended by a use, and those that are still open or were given up, which say only "not until then"
(Kaplan and Meier's estimate of a survival curve).

The worth of a block at an age is the best rate of hits per tick over all moments at which one might give it up:
max over T of P(found before T) / E[ticks until found or T] (Gittins' index of one interval). Evicting the lowest
worth is right for blocks that come back independently of each other, whatever the shapes of their curves are.
"""

from bisect import bisect_right
from collections.abc import Sequence

EDGES = tuple(int(16 * 2 ** (i / 2)) for i in range(34))  # upper ends of the bins, in ticks; the last bin is open
NUM_BINS = len(EDGES) + 1


def bin_of(age: int) -> int:
    return bisect_right(EDGES, age)


def hazards(found: Sequence[float], given_up: Sequence[float], prior: Sequence[float], weight: float) -> list[float]:
    """Chance to be found within each bin by those who entered it, drawn towards `prior` by `weight` observations."""
    at_risk = sum(found) + sum(given_up)
    curve = []
    for i in range(NUM_BINS):
        exposed = at_risk - given_up[i] / 2
        curve.append((found[i] + weight * prior[i]) / (exposed + weight) if exposed + weight > 0 else 0.0)
        at_risk -= found[i] + given_up[i]
    return curve


def scaled(everybody: Sequence[float], found: Sequence[float], given_up: Sequence[float], weight: float) -> list[float]:
    """The curve of all, raised or lowered as far as those of one kind came back more often or less than it says.

    So a kind is told apart at ages that none of it has reached yet, too.
    """
    at_risk = sum(found) + sum(given_up)
    expected = 0.0
    for i in range(NUM_BINS):
        expected += (at_risk - given_up[i] / 2) * everybody[i]
        at_risk -= found[i] + given_up[i]
    ratio = (sum(found) + weight) / (expected + weight)
    return [min(chance * ratio, 0.99) for chance in everybody]


def worths(curve: Sequence[float]) -> list[float]:
    """Best hits per tick from each bin on."""
    lows, highs = (0, *EDGES), (*EDGES, 2 * EDGES[-1])
    worth = []
    for start in range(NUM_BINS):
        alive, hits, ticks, best = 1.0, 0.0, 0.0, 0.0
        for i in range(start, NUM_BINS):
            part = 0.5 if i == start else 1.0  # a block is on average in the middle of its bin
            chance = curve[i] * part
            ticks += alive * (1 - curve[i] / 2) * (highs[i] - lows[i]) * part
            hits += alive * chance
            alive *= 1 - chance
            best = max(best, hits / ticks)
        worth.append(best)
    return worth
