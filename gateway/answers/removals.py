"""The last removals of one place, so that what began to be made before one is not kept after it, however long it took.

Whoever begins takes `count`; whoever would keep what was made asks `since` and looks whether any of that means it.
"""

from collections import deque
from collections.abc import Sequence

from gateway.answers.selection import Selection

MOST = 1000  # that are remembered: what began before more of them is not kept


class Removals:
    """Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._last: deque[Selection] = deque(maxlen=most)
        self.count = 0  # so far

    def note(self, selection: Selection) -> None:
        """This is removed now."""
        self._last.append(selection)
        self.count += 1

    def since(self, began: int) -> Sequence[Selection]:
        """What was removed after there had been `began` removals; everything, where nobody remembers."""
        num_since = self.count - began
        if num_since > len(self._last):
            return [Selection()]
        return [self._last[-number] for number in range(1, num_since + 1)]
