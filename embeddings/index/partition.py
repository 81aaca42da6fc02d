"""One partition: its rows, and, once there are many, lists that say which of them to look at.

Every slot's row is in the lists as it is now, or the slot is `pending`. A search takes candidates from the lists, adds
all that is pending, and scores each against its row: so its scores are exact, what was removed is gone at once, and
what was just written is found, however far the lists lag behind.
"""

import threading
from math import inf

from embeddings.index.building import ADOPTED_AT, MIN_FETCH, OVERFETCH, Build, Keep, Known, put
from embeddings.index.lists import Lists
from embeddings.index.rows import Floats, Rows, digests_of, nearest

FLAT_ROWS = 4_096  # beyond, lists: to read them all takes 0.3 ms
FLAT_AGAIN = 0.5  # of it: below, no lists
GROWN = 2.0  # times the rows lists were made for: they are made anew
SHRUNK = 0.25
LOOK_EVERY = 1024  # writes between two looks at whether the lists are lopsided
DRAINED = 4  # pending slots that go into the lists with each call
WIDEST = 256  # neighbours; who wants more has every row looked at


class Partition:
    """Vectors by id, nearest first. One thread makes every call."""

    __slots__ = ("_build", "_lists", "_not_before", "_pending", "_writes", "flat_rows", "rows", "texts", "weighed")

    def __init__(self, dim: int, *, flat_rows: int = FLAT_ROWS) -> None:
        self.rows = Rows(dim)
        self.texts: dict[str, str] = {}
        self.flat_rows = flat_rows
        self.weighed = 0  # bytes, the last time its index asked
        self._lists: Lists | None = None
        self._build: Build | None = None
        self._pending: dict[int, None] = {}
        self._not_before = 0  # rows a partition has to have before lists that failed are tried again
        self._writes = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + (self._lists.nbytes if self._lists is not None else 0)

    @property
    def has_lists(self) -> bool:
        return self._lists is not None

    @property
    def num_probes(self) -> int:
        """Lists a search reads; 0 where it reads every row."""
        return self._lists.trained.num_probes if self._lists is not None else 0

    @property
    def build(self) -> Build | None:
        return self._build

    @property
    def is_busy(self) -> bool:
        """Whether lists are being made, or lag behind the rows."""
        return self._build is not None or bool(self._pending)

    def put(self, id: str, vector: Floats) -> None:
        self._touch(self.rows.put(id, vector))

    def remove(self, id: str) -> bool:
        moved = self.rows.remove(id)
        if moved is None:
            return False
        self.texts.pop(id, None)
        self._touch(moved[1])
        self._touch(moved[0])
        if self._lists is not None and self._is_small:
            self._lists, self._pending = None, {}
        return True

    def search(self, query: Floats, k: int) -> list[tuple[float, str]]:
        """The up to `k` nearest, nearest first, ids in order where two are as near."""
        if self._lists is None or k > WIDEST:
            scores = self.rows.similarities(query)
            slots = nearest(scores, k)
            near = list(zip((-scores[slots]).tolist(), slots, strict=True))
        else:
            slots = self._lists.search(query, max(MIN_FETCH, OVERFETCH * k))
            if self._pending:  # else every slot in a list is one of ours
                slots = [slot for slot in {**dict.fromkeys(slots), **self._pending} if slot < len(self.rows)]
            few = sorted(zip((-self.rows.similarities_at(query, slots)).tolist(), slots, strict=True))
            least = few[k - 1][0] if k < len(few) else inf
            near = [one for one in few if one[0] <= least]  # so few are sorted sooner than numpy is called
        ids = self.rows.ids_at([slot for _, slot in near])
        named = sorted((score, id, slot) for (score, slot), id in zip(near, ids, strict=True))[:k]
        if named:
            self.rows.mark(named[0][2])
        return [(-score, id) for score, id, _ in named]

    # -- lists -------------------------------------------------------------------------------------------------------

    def _touch(self, slot: int) -> None:
        if self._build is not None:
            self._build.journal[slot] = None
        if self._lists is not None:
            self._pending.pop(slot, None)
            self._pending[slot] = None

    def drain(self) -> None:
        """Bring the lists a step nearer to the rows."""
        if self._lists is not None and self._pending:
            some = [slot for slot, _ in zip(self._pending, range(DRAINED), strict=False)]
            for slot in some:
                del self._pending[slot]
            put(self._lists, self.rows.blocks, len(self.rows), some, self.rows.dim)

    @property
    def _is_small(self) -> bool:
        return len(self.rows) < FLAT_AGAIN * self.flat_rows

    def wants_lists(self) -> bool:
        """Whether lists should be made, for the first time or anew."""
        size = len(self.rows)
        if self._build is not None or size <= self.flat_rows or size < self._not_before:
            return False
        if self._lists is None:
            return True
        made_for = self._lists.trained.num_rows
        if size >= GROWN * made_for or size <= SHRUNK * made_for:
            return True
        self._writes += 1
        return self._writes % LOOK_EVERY == 0 and self._lists.is_lopsided

    def begin(self, turn: threading.Lock, known: Known | None = None, keep: Keep | None = None) -> None:
        """Make lists in the background."""
        assert self._build is None
        self._build = Build(self.rows.blocks, len(self.rows), self.rows.dim, turn=turn, known=known, keep=keep)

    def settle(self) -> bool:
        """Use the lists that were made in the background, if they are ready; whether nothing is under way."""
        build = self._build
        if build is None:
            return True
        if not build.is_waiting:
            return False
        if build.error is not None:
            self._build, self._not_before = None, 2 * len(self.rows)
            return True
        if self._is_small:
            self._build = None
            return True
        lists = build.hand_over(self.rows.blocks, len(self.rows))
        if lists is None:
            return False
        assert len(build.journal) <= ADOPTED_AT
        if self._lists is not None:  # freeing a million nodes of a hash table is nothing to wait for
            threading.Thread(target=self._lists.reset, name="index-free").start()
        self._lists, self._pending, self._build = lists, build.journal, None
        return True

    def save(self, keep: Keep) -> None:
        """Give away what is trained, and the list of each id as of now."""
        if self._lists is not None:
            belongs = self._lists.assignments(len(self.rows))
            belongs[[slot for slot in self._pending if slot < len(belongs)]] = -1
            keep(self._lists.trained, digests_of(self.rows.blocks), belongs)

    def cancel(self) -> None:
        """Let the thread end soon; what it made is of no use."""
        if self._build is not None:
            self._build.is_cancelled = True
