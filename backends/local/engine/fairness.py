"""Who goes first: owners by what they have been given so far, the requests of one owner by priority and age.

A virtual token counter per owner (Sheng et al. 2024, "Fairness in Serving Large Language Models", arXiv 2401.00588):
prompt tokens computed and, dearer, tokens generated. Who has been given least is served next, so one owner's flood
cannot starve another. An owner who was away starts where the least served of the present ones stands: idle time saves
up no claim.

Priorities come from callers, so they order an owner's own requests and cannot push another owner's aside. Every
`AGE_S` of waiting counts as one level, so nothing waits for ever.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from heapq import heapify, heappop, heappush

from backends.local.engine.sequence import Sequence

OUTPUT_WEIGHT = 2  # a token generated against one prompt token computed, as in the paper
AGE_S = 10.0
MANY_OWNERS = 1024


class Shares:
    """What each owner has been given, in weighted tokens."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        self._floor = 0

    def __getitem__(self, owner: str) -> int:
        return max(self._given.get(owner, 0), self._floor)

    def charge(self, owner: str, tokens: int) -> None:
        self._given[owner] = self[owner] + tokens

    def arrive(self, owner: str, present: Iterable[str]) -> None:
        """An owner has nothing here yet; `present` are those who have."""
        self._floor = max(self._floor, min(map(self.__getitem__, present), default=self._floor))
        self._given[owner] = self[owner]
        if len(self._given) > MANY_OWNERS:  # who is at the floor is as good as unknown
            self._given = {name: given for name, given in self._given.items() if given > self._floor}


def in_turn(waiting: Iterable[Sequence], shares: Shares | Mapping[str, int], now_s: float) -> list[Sequence]:
    """The order in which sequences are admitted, supposing each costs its owner its prompt.

    Preempted ones come first: they hold a stream open, and have been paid for.
    """
    back, queues = [], defaultdict[str, list[tuple[int, int, Sequence]]](list)
    for sequence in waiting:
        if sequence.was_admitted:
            back.append(sequence)
        else:
            level = sequence.priority - int((now_s - sequence.arrived_s) / AGE_S)
            queues[sequence.owner].append((level, sequence.arrival, sequence))
    back.sort(key=lambda sequence: sequence.arrival)
    return [*back, *_merged(queues, shares)]


def _merged(
    queues: Mapping[str, list[tuple[int, int, Sequence]]], shares: Shares | Mapping[str, int]
) -> list[Sequence]:
    if len(queues) == 1:
        return [sequence for *_, sequence in sorted(next(iter(queues.values())))]
    for queue in queues.values():
        heapify(queue)
    turns = [(shares[owner], queue[0][1], owner) for owner, queue in queues.items()]
    heapify(turns)
    order = []
    while turns:
        given, _, owner = heappop(turns)
        *_, sequence = heappop(queues[owner])
        order.append(sequence)
        if queues[owner]:
            heappush(turns, (given + sequence.num_prompt, queues[owner][0][1], owner))
    return order


def pushed_out(waiting: Many[Sequence], owner: str, num_new: int, num_over: int) -> list[int] | None:
    """The requests that leave a full queue so that `num_new` sequences of `owner` find room: `num_over` too many.

    The last ones of whoever has most in it, as long as that is more than `owner` has. None when that is not enough: one
    owner can fill an empty queue, but not keep others out of it.
    """
    held = Counter(sequence.owner for sequence in waiting)
    held[owner] += num_new
    sizes = Counter(sequence.request for sequence in waiting)
    newest_first = sorted(waiting, key=lambda sequence: -sequence.arrival)
    gone: dict[int, None] = {}
    while num_over > 0:
        largest = max((name for name in held if name != owner), key=held.__getitem__, default=owner)
        if held[largest] <= held[owner]:
            return None
        last = next(s.request for s in newest_first if s.owner == largest and s.request not in gone)
        gone[last] = None
        held[largest] -= sizes[last]
        num_over -= sizes[last]
    return list(gone)
