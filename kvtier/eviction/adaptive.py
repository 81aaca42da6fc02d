"""The default policy: learns from the pool's own traffic which kinds of blocks come back, and when.

Blocks are of a kind by what is known at their last use: how often they were found, how much the last request added,
how many requests had built their chain by then (the turn of a conversation), how long the answer was, whether they are
partly filled. For each kind a curve of return by age is learned (`hazard`), drawn towards that of the wider kind which
leaves out the last of these, so that kinds seldom seen are no worse than none. It is learned from blocks that are gone,
too: keys are remembered for `WINDOW` times the pool, and for `MIN_WINDOW` ticks at least, since in a small pool nearly
all blocks are gone before they would have come back. That makes it recency where age tells most and frequency where
hits do.

Learning is done in slices, one at each letting go, so no request waits for more than `SLICE` observations.

Within a kind the worth of a block rises and then falls with its age, so its lowest is at one of the two ends: the
oldest or the newest of every kind are compared, and no others.

With `knee_tokens` a block is also worth what computing it again costs: attention over the tokens before it costs as
much as everything else behind that many of them.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

from kvtier.eviction.hazard import Curve, Tally, bin_of, drawn_towards, first_curve, worths
from kvtier.eviction.policy import Facts
from kvtier.eviction.shelf import Shelf

WINDOW = 4  # pools of ticks: how far back keys are remembered
MIN_WINDOW = 32768  # ticks: about 9 MB of keys and what is told of them
LEARN_EVERY = 0.125  # windows
SLICE = 4096  # intervals told at one letting go
CURVES = 32  # curves learned at one letting go
DECAY = 0.9  # of what is older than the window, at every learning

PICKS = 16  # evictions between two looks at every kind

SIZE_ENDS = (2, 5, 17)  # blocks added
ANSWER_ENDS = (16, 64, 256, 512)  # tokens
FREQUENCIES, SIZES, TURNS = 4, len(SIZE_ENDS) + 1, 5
ANSWERS = len(ANSWER_ENDS) + 2  # the first: not known
PARTIAL = FREQUENCIES * SIZES * TURNS * ANSWERS  # the kind of partly filled blocks
NUM_KINDS = PARTIAL + 1
WIDER = (TURNS * ANSWERS, ANSWERS, 1)  # kinds in one of each wider kind, widest first
FEW = 50  # blocks: a kind of which fewer were seen is taken for the wider one
CURVE_WEIGHT = 100.0  # blocks: below so many observations a kind follows the curve of the wider one
RATIO_WEIGHTS = (20.0, 100.0, 100.0)  # hits: the same for how often it comes back at all; for each of `WIDER`


@dataclass(slots=True)
class Interval:
    """From one use of a block to the next, or to nothing yet."""

    key: bytes
    start: int
    kind: int
    age: int | None = None  # at which it was found again


@dataclass(slots=True)
class Seen:
    """What is remembered of a key, kept or not."""

    hits: int
    turn: int
    interval: Interval | None = None


@dataclass(slots=True)
class Entry:
    """A kept block."""

    facts: Facts
    seen: Seen
    is_new: bool  # nobody had used its key before
    used: int
    answer: int = 0
    kind: int = 0
    shelf: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One end of a shelf, when it was last looked at."""

    worth: float
    used: float
    block: int
    is_oldest: bool
    number: int = field(compare=False)
    shelf: Shelf = field(compare=False)


@dataclass(slots=True)
class Queue:
    """Candidates for the next few evictions, a heap."""

    candidates: list[Candidate]
    left: int


class Adaptive:
    """Evicts the block that is worth least per tick."""

    def __init__(self, num_blocks: int, knee_tokens: float | None = None) -> None:
        self._knee = knee_tokens
        self._window = max(WINDOW * num_blocks, MIN_WINDOW)
        self._least_period = num_blocks // 2
        self._now = 0
        self._next_learning = 0
        self._entries: dict[int, Entry] = {}
        self._seen: dict[bytes, Seen] = {}
        self._intervals: deque[Interval] = deque()
        self._old: dict[int, Tally] = defaultdict(Tally)
        self._worth: dict[int, Curve] = {}
        self._default = worths(first_curve())
        self._shelves: dict[str, dict[int, Shelf]] = {}
        self._queues: dict[str | None, Queue] = {}
        self._learning: Iterator[None] | None = self._learn()

    def add(self, block: int, facts: Facts) -> None:
        self._now += 1
        seen = self._seen.get(facts.key)
        is_new = seen is None
        if seen is None:
            seen = self._seen[facts.key] = Seen(0, self._turn_after(facts))
        else:
            seen.hits += 1
            self._found_again(seen)
        self._entries[block] = Entry(facts, seen, is_new, self._now)

    def hit(self, path: Sequence[int]) -> None:
        self._now += len(path)
        for block in path:
            seen = self._entries[block].seen
            seen.hits += 1
            self._found_again(seen)

    def settle(self, path: Sequence[int], num_answered: int | None = None) -> None:
        entries = [self._entries[block] for block in path if block in self._entries]
        if not entries:
            return
        self._now += 1
        last = entries[-1]
        num_new = sum(1 for entry in entries if entry.is_new and entry.facts.sequence == last.facts.sequence)
        size, turn = bisect_right(SIZE_ENDS, num_new), min(last.seen.turn - 1, TURNS - 1)
        answer = 0 if num_answered is None else 1 + bisect_right(ANSWER_ENDS, num_answered)
        for entry in entries:
            if num_answered is not None or not entry.answer:
                entry.answer = answer
            answer = entry.answer  # what goes on behind an answer has that answer, until it gets one of its own
            hits = min(entry.seen.hits, FREQUENCIES - 1)
            kind = ((hits * SIZES + size) * TURNS + turn) * ANSWERS + answer
            entry.kind = kind if entry.facts.is_full else PARTIAL
            entry.used = self._now
            self._begin(entry)
        self._forget_old()
        if self._learning is None and self._now >= self._next_learning:
            self._learning = self._learn()
        if self._learning is not None and next(self._learning, True):
            self._learning = None

    def expose(self, block: int) -> None:
        entry = self._entries[block]
        entry.shelf = entry.kind + NUM_KINDS * self._level(entry.facts.depth)
        shelves = self._shelves.setdefault(entry.facts.owner, {})
        shelf = shelves.setdefault(entry.shelf, Shelf())
        shelf.put(block, (entry.used,))
        worth = self._worth_of(entry.shelf, entry.used)
        for owner in (None, entry.facts.owner):
            queue = self._queues.get(owner)
            if queue is not None and queue.candidates and worth < queue.candidates[0].worth:
                heappush(queue.candidates, Candidate(worth, entry.used, block, True, entry.shelf, shelf))

    def hide(self, block: int) -> None:
        entry = self._entries[block]
        shelf = self._shelves.get(entry.facts.owner, {}).get(entry.shelf)
        if shelf is not None:
            shelf.remove(block)

    def victim(self, owner: str | None) -> int | None:
        queue = self._queues.get(owner)
        if queue is None or not queue.left or not queue.candidates:
            queue = self._queues[owner] = self._look(owner)
        queue.left -= 1
        while queue.candidates:
            first = queue.candidates[0]
            now = self._candidate(first.number, first.shelf, is_oldest=first.is_oldest)
            if now is None:
                heappop(queue.candidates)
            elif now.worth > first.worth:  # others may be worth less by now
                heapreplace(queue.candidates, now)
            else:
                return now.block
        return self.victim(owner) if queue.left < PICKS - 1 else None

    def _look(self, owner: str | None) -> Queue:
        """Both ends of every kind."""
        groups = self._shelves.values() if owner is None else [self._shelves.get(owner, {})]
        ends = (
            self._candidate(number, shelf, is_oldest=is_oldest)
            for shelves in groups
            for number, shelf in shelves.items()
            if shelf
            for is_oldest in (True, False)
        )
        candidates = [end for end in ends if end is not None]
        heapify(candidates)
        return Queue(candidates, PICKS)

    def _candidate(self, number: int, shelf: Shelf, *, is_oldest: bool) -> Candidate | None:
        end = shelf.lowest() if is_oldest else shelf.highest()
        if end is None:
            return None
        (used,), block = end
        return Candidate(self._worth_of(number, used), used, block, is_oldest, number, shelf)

    def _worth_of(self, shelf: int, used: float) -> float:
        level, kind = divmod(shelf, NUM_KINDS)
        return self._worth.get(kind, self._default)[bin_of(self._now - int(used))] * (1 << level)

    def _level(self, depth: int) -> int:
        """How often the cost of a block has doubled, `depth` tokens into its chain."""
        return int(1 + depth / self._knee).bit_length() - 1 if self._knee is not None else 0

    def drop(self, block: int) -> None:
        owner = self._entries.pop(block).facts.owner
        shelves = self._shelves.get(owner, {})
        if not any(map(len, shelves.values())):
            self._shelves.pop(owner, None)
            self._queues.clear()

    def _turn_after(self, facts: Facts) -> int:
        parent = self._entries.get(facts.parent) if facts.parent is not None else None
        if parent is None:
            return 1
        is_same = parent.is_new and parent.facts.sequence == facts.sequence
        return parent.seen.turn if is_same else parent.seen.turn + 1

    def _found_again(self, seen: Seen) -> None:
        if seen.interval is not None and seen.interval.age is None:
            seen.interval.age = self._now - seen.interval.start

    def _begin(self, entry: Entry) -> None:
        """A new interval; one that nobody has found again goes on under the kind known now, from its own start.

        So ages are learned from the first time a request let go, and ranked from the last: apart by what that request
        took. Intervals are in the order of their starts, to be forgotten in it, so a start is not moved.
        """
        interval = entry.seen.interval
        if interval is not None and interval.age is None:
            interval.kind = entry.kind
            return
        entry.seen.interval = Interval(entry.facts.key, self._now, entry.kind)
        self._intervals.append(entry.seen.interval)
        self._seen[entry.facts.key] = entry.seen

    def _learn(self) -> Iterator[None]:
        """Curves of all kinds anew, from the intervals of the window and what is left of older ones, slice by slice."""
        period = min(int(LEARN_EVERY * self._window), self._now // 2 + 64)  # sooner at first
        self._next_learning = self._now + max(period, self._least_period)
        for tally in self._old.values():
            tally.fade(DECAY)
        tallies = defaultdict(Tally, {kind: tally.copy() for kind, tally in self._old.items()})
        for told, interval in enumerate(tuple(self._intervals), start=1):
            self._tell(interval, tallies)
            if not told % SLICE:
                yield
        everybody = drawn_towards(first_curve(), Tally.of(tallies.values()), 1.0)
        curves, above = dict.fromkeys({kind // WIDER[0] for kind in tallies}, everybody), WIDER[0]
        default = worths(everybody)
        worth = dict.fromkeys(curves, default)
        for width, ratio_weight in zip(WIDER, RATIO_WEIGHTS, strict=True):
            groups: dict[int, list[Tally]] = defaultdict(list)
            for kind, tally in tallies.items():
                groups[kind // width].append(tally)
            wider, wider_worth, curves, worth = curves, worth, {}, {}
            for group, parts in groups.items():
                above_it, tally = group * width // above, Tally.of(parts)
                if len(tally) < FEW:
                    curves[group], worth[group] = wider[above_it], wider_worth[above_it]
                    continue
                curves[group] = drawn_towards(wider[above_it], tally, CURVE_WEIGHT, ratio_weight)
                worth[group] = worths(curves[group])
                if not len(worth) % CURVES:
                    yield
            above = width
            yield
        self._worth, self._default = worth, default
        self._queues.clear()

    def _forget_old(self) -> None:
        while self._intervals and self._now - self._intervals[0].start > self._window:
            interval = self._intervals.popleft()
            self._tell(interval, self._old)
            seen = self._seen.get(interval.key)
            if seen is not None and seen.interval is interval:
                seen.interval = None
                del self._seen[interval.key]

    def _tell(self, interval: Interval, tallies: dict[int, Tally]) -> None:
        tally = tallies[interval.kind]
        if interval.age is not None:
            tally.found[bin_of(interval.age)] += 1
        else:
            tally.given_up[bin_of(self._now - interval.start)] += 1
