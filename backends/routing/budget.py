"""How many second tries an outage may cost. Pure.

As Finagle has it: a share of the requests, and some to begin with.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class RetryBudget:
    """Every request pays `share` of a try in, up to `most`; every second try takes one out."""

    share: float = 0.2
    most: float = 10.0
    left: float = 10.0
    spent: int = 0
    refused: int = 0

    def earn(self) -> None:
        """A request has come."""
        self.left = min(self.most, self.left + self.share)

    def take(self) -> bool:
        """Whether there is a second try left; it is taken."""
        if self.left < 1:
            self.refused += 1
            return False
        self.left -= 1
        self.spent += 1
        return True
