"""How likely engines still have what they used some time ago: a table that their reports fill in.

Age is in tokens read since (`shadow.py`). An engine with room for 400,000 tokens has all that is younger and nothing
that is older while it is at ease; under pressure a prefix may be pushed out by what waits with it, and the chance is
flat over many ages. So no curve is assumed, only that what is older is no likelier to be there.
"""

from math import log2

STEP = 1024  # ages below this are one age; above, there are two to a doubling
AGES = 30
LEAST = 0.2  # what is thought gone is worth something: it is nowhere else either, and else nobody would find out


class Keeping:
    """Chances by age. Begins as an engine with room for `horizon` tokens would have it."""

    def __init__(self, horizon: int) -> None:
        self._chances = [1.0 if STEP * 2 ** (place / 2) <= horizon else LEAST for place in range(AGES)]

    def chance(self, age: int) -> float:
        """How likely a prefix last used so long ago is there."""
        return self._chances[_place(age)]

    def saw(self, age: int, was_there: bool, pace: float) -> None:
        """A report: one so old was there, or was not."""
        chances, place = self._chances, _place(age)
        moved = chances[place] + pace * (was_there - chances[place])
        moved = chances[place] = max(LEAST, moved)
        for other in range(place):
            chances[other] = max(chances[other], moved)
        for other in range(place + 1, AGES):
            chances[other] = min(chances[other], moved)

    @property
    def horizon(self) -> int:
        """The age at which a prefix is rather gone than there."""
        return int(STEP * 2 ** (sum(chance >= 0.5 for chance in self._chances) / 2))


def _place(age: int) -> int:
    return min(AGES - 1, int(2 * log2(age / STEP))) if age > STEP else 0
