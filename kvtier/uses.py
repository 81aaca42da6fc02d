"""How often kept blocks were found, for one addition per request.

A hit is written down where it ended only. Who found a block is then whoever ended at it or below it, which is added up
when somebody asks (`kvtier.survey`). Leaves go first, so what a leaf knows passes to its parent when it goes.
"""

from array import array


class Uses:
    """Per block: how many hits ended in it, and how many of its rows those used."""

    def __init__(self, num_blocks: int) -> None:
        self.ended = array("q", bytes(8 * num_blocks))
        self.rows = array("q", bytes(8 * num_blocks))

    def end(self, block: int, num_rows: int, times: int = 1) -> None:
        """Hits went into a block, and used so many of its rows together."""
        self.ended[block] += times
        self.rows[block] += num_rows

    def take(self, block: int) -> tuple[int, int]:
        """A block goes: how many hits had ended in it, and how many of its rows they used."""
        taken = self.ended[block], self.rows[block]
        self.ended[block] = self.rows[block] = 0
        return taken

    def copy(self) -> "Uses":
        """As it is now."""
        same = Uses(0)
        same.ended, same.rows = self.ended[:], self.rows[:]
        return same
