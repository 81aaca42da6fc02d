"""What goes first when a budget is full: one number per entry, and the lowest goes.

    cost    floor + uses (at most 100) * (seconds it took + 50 ms) / bytes; a fifth of it for a first use
    lru     the moment of the last use
    lfu     how often it was used
    fifo    the moment it came
    random  floor + a draw: exponential draws forget their age, so whoever is there may be the next, all alike

`cost` is GreedyDual-Size-Frequency (Cherkasova, HP Labs 1998): chance of another use times what it saves, over what
it occupies. `floor` rises to the priority of whatever went last, so that an entry nobody asks for any more is
overtaken in time, however dear it was: recency without a clock. A priority never falls while an entry is kept.

Uses are those of the last while, before the entry was put too (`gateway.answers.popularity`), and what has had one use
alone is on probation: a scan of requests that never come back pushes out little but itself (`bench/answers.py`).
"""

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

POLICIES = ("cost", "lru", "lfu", "fifo", "random")
MAX_USES = 100
PROBATION = 0.2  # of its priority, for what has been asked for once
DEAREST_S = 10.0  # an answer that took longer weighs no more: who puts one says himself how long it took
LOOKUP_S = 0.05  # even an answer that cost nothing saves about this much

Key = TypeVar("Key", bound=Hashable)


def worth(elapsed_s: float, size_bytes: int) -> float:
    """Seconds saved by one use, `DEAREST_S` at most, per byte kept."""
    return (min(elapsed_s, DEAREST_S) + LOOKUP_S) / size_bytes


def first_priority(policy: str, *, floor: float, tick: float, uses: int, worth: float, draw: float) -> float:
    """Of an entry that is put; `tick` is now, on a clock of the store's own."""
    match policy:
        case "cost":
            return floor + min(uses, MAX_USES) * worth * (1.0 if uses > 1 else PROBATION)
        case "lru" | "fifo":
            return tick
        case "lfu":
            return float(uses)
        case "random":
            return floor + draw
    raise ValueError(f"policy {policy!r} is none of {', '.join(POLICIES)}")


def next_priority(policy: str, *, before: float, floor: float, tick: float, uses: int, worth: float) -> float:
    """Of an entry that has just been used."""
    if policy in ("fifo", "random"):
        return before
    return first_priority(policy, floor=floor, tick=tick, uses=uses, worth=worth, draw=0.0)


class Shelf(Generic[Key]):
    """Keys by priority. Cheap to use: a priority that rose is noticed when its key comes to the front."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, priority: float, number: int, key: Key) -> None:
        """`number` tells this stay of the key from another one."""
        heappush(self._heap, (priority, number, key))

    def lowest(self, look: Callable[[Key, int], float | None]) -> Key | None:
        """The key that goes first; `look` says the priority of a stay now, None when it has ended."""
        while self._heap:
            noted, number, key = self._heap[0]
            priority = look(key, number)
            if priority is None:
                heappop(self._heap)
            elif priority > noted:
                heapreplace(self._heap, (priority, number, key))
            else:
                return key
        return None

    def sweep(self, look: Callable[[Key, int], float | None]) -> None:
        """Drop the stays that have ended."""
        self._heap = [item for item in self._heap if look(item[2], item[1]) is not None]
        heapify(self._heap)
