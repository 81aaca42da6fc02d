"""How likely a block is to be found again, by how long ago it was used, and what a place in the pool is worth for it.

Ages fall into bins that grow by a half power of two. A curve is learned from intervals between two uses of a block:
those that ended by a use, and those that are still open or were given up, which say only "not until then"
(Kaplan and Meier's estimate of a survival curve).

The worth of a block at an age is the best rate of hits per tick over all moments at which one might give it up:
max over T of P(found before T) / E[ticks until found or T] (Gittins' index of one interval). Evicting the lowest
worth is right for blocks that come back independently of each other, whatever the shapes of their curves are.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

EDGES = tuple(int(16 * 2 ** (i / 2)) for i in range(34))  # upper ends of the bins, in ticks; the last bin is open
NUM_BINS = len(EDGES) + 1
WIDTHS = tuple(high - low for low, high in zip((0, *EDGES), (*EDGES, 2 * EDGES[-1]), strict=True))

Curve = list[float]  # a number for each bin


def bin_of(age: int) -> int:
    return bisect_right(EDGES, age)


@dataclass(slots=True)
class Tally:
    """Intervals by their length: those that ended by a use, and the others."""

    found: Curve = field(default_factory=lambda: [0.0] * NUM_BINS)
    given_up: Curve = field(default_factory=lambda: [0.0] * NUM_BINS)

    @classmethod
    def of(cls, parts: Iterable["Tally"]) -> "Tally":
        """The sum of several, of one at least."""
        found, given_up = zip(*((part.found, part.given_up) for part in parts), strict=True)
        return cls([*map(sum, zip(*found, strict=True))], [*map(sum, zip(*given_up, strict=True))])

    def __len__(self) -> int:
        return int(sum(self.found) + sum(self.given_up))

    def copy(self) -> "Tally":
        return Tally(self.found.copy(), self.given_up.copy())

    def fade(self, part: float) -> None:
        """Let everything count for less."""
        self.found = [count * part for count in self.found]
        self.given_up = [count * part for count in self.given_up]

    def exposed(self) -> Curve:
        """How many entered each bin; those who left it otherwise were there for half of it."""
        at_risk, exposed = sum(self.found) + sum(self.given_up), []
        for found, given_up in zip(self.found, self.given_up, strict=True):
            exposed.append(at_risk - given_up / 2)
            at_risk -= found + given_up
        return exposed


def first_curve() -> Curve:
    """What is believed before anything was seen: the older a block, the less likely it comes back."""
    return [1 / (i + 2) for i in range(NUM_BINS)]


def drawn_towards(wider: Curve, tally: Tally, weight: float, ratio_weight: float | None = None) -> Curve:
    """Chance to be found within each bin by those who entered it, drawn towards the curve of a wider kind.

    That curve is first raised or lowered as far as these came back more often or less than it says, so that a kind is
    told apart at ages that none of it has reached yet, too (below `ratio_weight` hits little, without it not at all).
    Below `weight` blocks the wider curve counts for more than what these did.
    """
    exposed = tally.exposed()
    prior = wider
    if ratio_weight is not None:
        expected = sum(many * chance for many, chance in zip(exposed, wider, strict=True))
        ratio = (sum(tally.found) + ratio_weight) / (expected + ratio_weight)
        prior = [min(chance * ratio, 0.99) for chance in wider]
    return [
        (found + weight * chance) / (many + weight)
        for found, many, chance in zip(tally.found, exposed, prior, strict=True)
    ]


def worths(curve: Curve) -> Curve:
    """Best hits per tick from the middle of each bin on.

    With hits drawn over ticks that is the steepest line from there to any later end of a bin, and only the ends on
    the upper hull of the drawing can be its other point.
    """
    alive, hits, ticks = 1.0, 0.0, 0.0
    middles, ends = [], []
    for chance, width in zip(curve, WIDTHS, strict=True):
        more_hits, more_ticks = alive * chance, alive * (1 - chance / 2) * width
        middles.append((ticks + more_ticks / 2, hits + more_hits / 2))
        ticks, hits, alive = ticks + more_ticks, hits + more_hits, max(alive - more_hits, 1e-9)
        ends.append((ticks, hits))
    hull: list[tuple[float, float]] = []  # the nearest last
    worth = []
    for middle, end in zip(reversed(middles), reversed(ends), strict=True):
        while len(hull) > 1 and _slope(end, hull[-1]) <= _slope(hull[-1], hull[-2]):
            hull.pop()
        hull.append(end)
        best = _slope(middle, end)
        for further in reversed(hull[:-1]):
            steeper = _slope(middle, further)
            if steeper < best:
                break
            best = steeper
        worth.append(best)
    return worth[::-1]


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])
