"""Making lists in the background, over rows that go on changing.

    owner     start --- writes, each noted in the journal --- hand over the journal --- ... --- adopt: few are left
    thread      | train, fill, tune |                            | put what changed again |

The thread only reads blocks of rows and only writes lists nobody searches yet. A row may be torn while it is read: then
it is in the journal, and is read again in the next round. What the journal holds in the end is searched exactly until
it is in the lists, so no write is lost and no removed row is seen, whenever the lists are adopted.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from embeddings.index.lists import ROUNDS, ROWS_PER_LIST, Lists, Trained, cluster, encoder_of, num_lists
from embeddings.index.rows import BLOCK_ROWS, Block, Floats, digests_of, gather

log = logging.getLogger(__name__)

ADOPTED_AT = 256  # changed slots that may be left when new lists are adopted
PROBES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)  # the last: every list
ASKED = 96  # rows looked for to choose the number of probes
RECALL = 0.995  # of their 8 nearest, found; more than is promised: rows that come later are not among those asked
NEAREST = 8
OVERFETCH = 2  # candidates taken from the lists for one that is returned
MIN_FETCH = 16
NICENESS = 10

# What was trained, digests of ids, and the list of each or -1
Keep = Callable[[Trained, NDArray[np.uint64], NDArray[np.int32]], None]


@dataclass(frozen=True, slots=True)
class Known:
    """Training that is kept from another time, and the list of each id then."""

    trained: Trained
    digests: NDArray[np.uint64]  # of ids, in order
    lists: NDArray[np.int32]

    def lists_of(self, digests: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The list of each, -1 of one that is not known."""
        found = np.full(len(digests), -1, np.int64)
        if len(self.digests):
            at = np.minimum(np.searchsorted(self.digests, digests), len(self.digests) - 1)
            is_known = self.digests[at] == digests
            found[is_known] = self.lists[at[is_known]]
        return found


class Build:
    """New lists of one partition. The owner's thread calls everything but what runs in the background."""

    def __init__(
        self,
        blocks: Sequence[Block],
        num_rows: int,
        dim: int,
        *,
        turn: threading.Lock,
        known: Known | None = None,
        keep: Keep | None = None,
    ) -> None:
        """Begins at once, when it has the `turn`. What it trains is given to `keep`, in the thread."""
        self.journal: dict[int, None] = {}  # slots written since the last hand-over, in their order
        self.error: Exception | None = None
        self.is_cancelled = False
        self._lists: Lists | None = None
        self._dim = dim
        self._turn = turn
        self._keep = keep
        view = tuple(blocks)
        self._thread = self._begin(lambda: self._fill(view, num_rows, known))

    @property
    def is_waiting(self) -> bool:
        """Whether the thread has done what it was given."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait for the thread."""
        self._thread.join()

    def hand_over(self, blocks: Sequence[Block], num_rows: int) -> Lists | None:
        """The lists when what is left in the journal is little; else None, and the thread takes the journal."""
        assert self.is_waiting
        assert self.error is None
        if len(self.journal) <= ADOPTED_AT:
            return self._lists
        changed, self.journal = list(self.journal), {}
        view = tuple(blocks)
        self._thread = self._begin(lambda: self._replay(view, num_rows, changed))
        return None

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _begin(self, work: Callable[[], None]) -> threading.Thread:
        # No daemon: those are ended inside FAISS when the interpreter ends, which aborts the process.
        thread = threading.Thread(target=self._run, args=(work,), name="index-build")
        thread.start()
        return thread

    def _run(self, work: Callable[[], None]) -> None:
        faiss.omp_set_num_threads(1)  # of this thread only: what serves keeps its core, and sums keep their order
        with suppress(OSError, AttributeError):  # Linux counts niceness by thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        with self._turn:
            try:
                work()
            except _Cancelled:
                self.error = RuntimeError("cancelled")
            except Exception as error:  # the root of a thread: the partition is searched exactly as before
                log.exception("the lists of a partition could not be made")
                self.error = error

    def _fill(self, blocks: Sequence[Block], num_rows: int, known: Known | None) -> None:
        is_fit = known is not None and _shared(blocks, num_rows, known) * 2 >= num_rows
        trained = known.trained if known is not None and is_fit else self._train(blocks, num_rows)
        lists = Lists(trained)
        belongs = np.full(num_rows, -1, np.int64)
        for at, block in enumerate(blocks):
            self._look()
            slots = slice(at * BLOCK_ROWS, min((at + 1) * BLOCK_ROWS, num_rows))
            if known is not None and is_fit:
                belongs[slots] = _known_lists(block, slots.stop - slots.start, known)
            unknown = np.flatnonzero(belongs[slots] < 0)
            if len(unknown):
                belongs[slots.start + unknown] = lists.assign(block.read(unknown))
        lists.make_room(belongs)  # as lists grow by themselves they hold half as much again
        for at, block in enumerate(blocks):
            self._look()
            slots = slice(at * BLOCK_ROWS, min((at + 1) * BLOCK_ROWS, num_rows))
            rows = block.read(slice(slots.stop - slots.start))
            lists.add(np.arange(slots.start, slots.stop), rows, belongs[slots])
        if not is_fit:
            lists = self._tuned(lists, blocks, num_rows)
        self._lists = lists
        if self._keep is not None and not is_fit:
            digests = digests_of(blocks)
            found = lists.assignments(min(num_rows, len(digests)))
            changed = [slot for slot in tuple(self.journal) if slot < len(found)]
            found[changed] = -1  # another row may lie there by now
            self._keep(lists.trained, digests[: len(found)], found)

    def _replay(self, blocks: Sequence[Block], num_rows: int, changed: Sequence[int]) -> None:
        assert self._lists is not None
        for start in range(0, len(changed), BLOCK_ROWS):
            self._look()
            put(self._lists, blocks, num_rows, changed[start : start + BLOCK_ROWS], self._dim)

    def _train(self, blocks: Sequence[Block], num_rows: int) -> Trained:
        count = num_lists(num_rows)
        slots = np.unique(np.linspace(0, num_rows - 1, ROWS_PER_LIST * count).astype(np.int64)).tolist()
        sample = gather(blocks, slots, self._dim)
        centroids = None
        for _ in range(ROUNDS):  # one round at a time: who stops does not wait for the rest
            self._look()
            centroids = cluster(sample, count, centroids)
        assert centroids is not None
        return Trained(centroids, encoder_of(sample, centroids), PROBES[0], num_rows, 1.0)

    def _tuned(self, lists: Lists, blocks: Sequence[Block], num_rows: int) -> Lists:
        """The same with as few probes as find what an exact search does, for rows of the partition itself."""
        slots = np.unique(np.linspace(0, num_rows - 1, ASKED).astype(np.int64)).tolist()
        asked = gather(blocks, slots, self._dim)
        truth = self._truth(blocks, num_rows, asked)
        for probes in PROBES:
            self._look()
            lists.set_probes(probes)
            found = [lists.search(query, MIN_FETCH) for query in asked]
            hits = sum(len(set(near) & set(true)) for near, true in zip(found, truth, strict=True))
            if hits >= RECALL * sum(map(len, truth)):
                break
        lists.trained = replace(lists.trained, num_probes=probes, imbalance=lists.imbalance)
        return lists

    def _truth(self, blocks: Sequence[Block], num_rows: int, asked: Floats) -> list[list[int]]:
        """The nearest of each that is asked, itself left out: it is found in any case."""
        best = np.full((len(asked), 0), -2.0, np.float32)
        slots = np.empty((len(asked), 0), np.int64)
        for at, block in enumerate(blocks):
            self._look()
            rows = np.ascontiguousarray(block.read(slice(min(BLOCK_ROWS, num_rows - at * BLOCK_ROWS))))
            k = min(NEAREST + 1, len(rows))
            near, places = faiss.knn(asked, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
            best, slots = np.hstack([best, near]), np.hstack([slots, places + at * BLOCK_ROWS])
            kept = np.argsort(-best, axis=1, kind="stable")[:, : NEAREST + 1]
            best, slots = np.take_along_axis(best, kept, 1), np.take_along_axis(slots, kept, 1)
        return [row[1:] for row in slots.tolist()]

    def _look(self) -> None:
        if self.is_cancelled or not threading.main_thread().is_alive():
            raise _Cancelled


class _Cancelled(Exception):
    pass


def put(lists: Lists, blocks: Sequence[Block], num_rows: int, changed: Sequence[int], dim: int) -> None:
    """Let lists say what the rows of these slots are now; slots beyond the end are in no list."""
    here = [slot for slot in changed if slot < num_rows]
    lists.drop([slot for slot in changed if slot >= num_rows])
    lists.put(here, gather(blocks, here, dim))


def _shared(blocks: Sequence[Block], num_rows: int, known: Known) -> int:
    return sum(int((known.lists_of(block.digests(BLOCK_ROWS)) >= 0).sum()) for block in blocks) if num_rows else 0


def _known_lists(block: Block, count: int, known: Known) -> NDArray[np.int64]:
    found = np.full(count, -1, np.int64)
    lists = known.lists_of(block.digests(count))
    found[: len(lists)] = lists  # a row may have been taken away meanwhile
    return found
