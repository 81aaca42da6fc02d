"""Uses of stored answers that nobody has written down yet, within a bound: no hit is worth a write of its own."""

from collections import Counter
from collections.abc import Mapping

MAX_UNWRITTEN = 10_000  # entries

Ends = Mapping[tuple[bytes, str], float]


class Tally:
    """Hits by entry, and the ends that uses moved; what passes the bound is not counted."""

    def __init__(self) -> None:
        self._hits: Counter[str] = Counter()
        self._ends: dict[tuple[bytes, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self._hits or self._ends)

    def count(self, entry_id: str, times: int) -> bool:
        """An entry was used; whether that is noted."""
        has_room = entry_id in self._hits or len(self._hits) < MAX_UNWRITTEN
        if has_room:
            self._hits[entry_id] += times
        return has_room

    def prolong(self, scope: bytes, entry_id: str, expires_s: float) -> bool:
        """A use moved an entry's end; whether that is noted."""
        has_room = (scope, entry_id) in self._ends or len(self._ends) < MAX_UNWRITTEN
        if has_room:
            self._ends[scope, entry_id] = expires_s
        return has_room

    def take(self) -> tuple[Mapping[str, int], Ends]:
        """What there is, to be written; from now on it is forgotten here."""
        hits, self._hits = self._hits, Counter()
        ends, self._ends = self._ends, {}
        return hits, ends
