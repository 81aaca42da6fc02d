"""What was removed lately: a vector that was asked for before is not kept after it, however long its model took."""

from collections import deque

from gateway.answers.selection import Selection
from gateway.embedded.kept import Kept, is_meant

MOST = 1000  # removals that are remembered: what began before more of them is not kept


class Removed:
    """Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._last: deque[Selection] = deque(maxlen=most)
        self.count = 0  # so far: what begins now remembers it

    def note(self, selection: Selection) -> None:
        """This is removed now."""
        self._last.append(selection)
        self.count += 1

    def means(self, kept: Kept, began: int) -> bool:
        """Whether a vector was removed after there had been `began` removals; so it was when nobody remembers."""
        num_since = self.count - began
        if num_since > len(self._last):
            return True
        return any(is_meant(self._last[-number], kept) for number in range(1, num_since + 1))
