"""Nearest-neighbour search inside partitions that never see each other.

A partition is named by opaque bytes; the gateway names it after everything that must agree before two questions may
share an answer, so most partitions hold one to ten rows and a few hold thousands. Small ones are searched row by row:
exact, no training, and a search cannot leave one by any filter forgotten. One that grows past `FLAT_ROWS` gets inverted
lists, made by a thread in the background (`building.py`); its scores stay exact, because candidates are scored against
the rows themselves (`partition.py`). A removal moves the last row into the hole (`rows.py`).

Past a budget those that are found least are let go and
counted: they can still be had by their exact request, or from whoever takes them (`pass_on`). With a folder, what was
trained is kept there (`snapshot.py`).

Not safe between threads: one thread (the event loop, or one worker) makes every call. The same calls in the same order
find the same candidates; ids decide between two that are as near.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from embeddings.base import Vector
from embeddings.index.building import Known
from embeddings.index.partition import FLAT_ROWS, Partition
from embeddings.index.rows import Floats
from embeddings.index.snapshot import Seals, Snapshots

log = logging.getLogger(__name__)

PARTITION_BYTES = 1_000  # what Python takes for one, beside its rows
SLOW_ROWS = 50_000  # a search that reads so many takes some 6 ms
LET_GO = 8  # rows that go with one write while the budget is passed


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored text near the one asked for; `similarity` is the cosine of unit vectors, -1 to 1."""

    id: str
    similarity: float
    text: str = ""


class VectorIndex:
    """Vectors of one embedder, by partition and id. Not safe between threads."""

    def __init__(
        self,
        dim: int,
        *,
        budget_bytes: int | None = None,
        snapshots: Path | None = None,
        seal: Seals | None = None,
        flat_rows: int = FLAT_ROWS,
        slow_rows: int = SLOW_ROWS,
    ) -> None:
        if dim < 1:
            raise ValueError(f"dim {dim} is under 1")
        self.dim = dim
        self.num_let_go = 0  # rows that the budget had no room for
        self.pass_on: Callable[[bytes, str, Vector], bool] | None = None  # is told what is let go; whether it takes it
        self.num_slow = 0  # partitions that are slow (`is_slow`), when `settle` looked last
        self._budget_bytes = budget_bytes
        self._flat_rows = flat_rows
        self._slow_rows = slow_rows
        self._partitions: dict[bytes, Partition] = {}  # with a budget: the one not searched for longest comes first
        self._size = 0
        self._nbytes = 0
        self._turn = threading.Lock()  # one partition's lists are made at a time
        self._folder = snapshots
        self._seal = seal
        self._snapshots: Snapshots | None = None
        self._known: dict[bytes, Known] = {}
        self._is_loading = False

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory held, nearly."""
        return self._nbytes

    @property
    def has_room(self) -> bool:
        """Whether the budget lets rows in without another going."""
        return self._budget_bytes is None or self._nbytes < 0.95 * self._budget_bytes

    # -- writing -----------------------------------------------------------------------------------------------------

    def add(self, partition: bytes, id: str, vector: Vector, text: str = "") -> None:
        """Keep `vector`, shape (dim,), under `id`; what was under it before is replaced."""
        row = self._as_row(vector)
        part = self._partitions.get(partition)
        if part is None:
            part = Partition(self.dim, flat_rows=self._flat_rows)
            self._partitions[partition] = part
            self._nbytes += PARTITION_BYTES
        rows = len(part)
        part.settle()
        part.put(id, row)
        if text:
            part.texts[id] = text
        else:
            part.texts.pop(id, None)
        part.drain()
        self._size += len(part) - rows
        self._weigh(part)
        self._keep_budget()
        self._look_at(partition, part)

    def remove(self, partition: bytes, id: str) -> bool:
        """Forget `id`; False when it was not there. A partition that becomes empty is freed."""
        part = self._partitions.get(partition)
        if part is None:
            return False
        part.settle()
        is_here = part.remove(id)
        part.drain()
        self._weigh(part)
        if not is_here:
            return False
        self._size -= 1
        if not len(part):
            self._free(partition)
        else:
            self._look_at(partition, part)
        return True

    def clear(self, partition: bytes | None = None) -> None:
        """Forget one partition, or everything."""
        for name in list(self._partitions) if partition is None else [partition]:
            part = self._partitions.get(name)
            if part is not None:
                self._size -= len(part)
                self._free(name)

    def _free(self, name: bytes) -> None:
        part = self._partitions.pop(name)
        part.cancel()
        if self._snapshots is not None and part.has_lists:
            self._snapshots.drop(name)  # what was learned of vectors that are no more
        self._nbytes -= PARTITION_BYTES + part.weighed

    def _weigh(self, part: Partition) -> None:
        nbytes = part.nbytes
        self._nbytes += nbytes - part.weighed
        part.weighed = nbytes

    # -- reading -----------------------------------------------------------------------------------------------------

    def search(self, partition: bytes, vector: Vector, k: int) -> list[Candidate]:
        """The up to `k` nearest of the partition, nearest first."""
        query = self._as_row(vector)
        part = self._searched(partition)
        if part is None or k < 1:
            return []
        if part.is_busy:
            part.settle()
            part.drain()
            self._weigh(part)
        texts = part.texts
        return [
            Candidate(id, similarity, texts[id] if id in texts else "")  # noqa: SIM401 - eight calls, at every search
            for similarity, id in part.search(query, k)
        ]

    def has(self, partition: bytes, id: str) -> bool:
        """Whether `id` is kept under this name."""
        part = self._partitions.get(partition)
        return part is not None and part.rows.slot_of(id) is not None

    def is_empty(self, partition: bytes) -> bool:
        """Whether nothing is kept under this name: then a text need not be embedded to be looked for."""
        return partition not in self._partitions

    def is_slow(self, partition: bytes) -> bool:
        """Whether a search would read very many rows, because their first lists are still to be made."""
        part = self._partitions.get(partition)
        if part is None or not self._is_slow(part):
            return False
        part.settle()
        self._weigh(part)
        return self._is_slow(part)

    def _is_slow(self, part: Partition) -> bool:
        is_to_come = part.build is not None or self._is_loading
        return len(part) > self._slow_rows and not part.has_lists and is_to_come

    def sizes(self) -> dict[bytes, int]:
        """Rows of every partition."""
        return {name: len(part) for name, part in self._partitions.items()}

    def probes(self) -> dict[bytes, int]:
        """How many lists a search of a partition reads; those that are searched row by row are not named."""
        return {name: part.num_probes for name, part in self._partitions.items() if part.has_lists}

    def ids(self, partition: bytes) -> Iterator[str]:
        """Every id of a partition, in no order."""
        part = self._partitions.get(partition)
        return part.rows.ids() if part is not None else iter(())

    # -- lists -------------------------------------------------------------------------------------------------------

    def open(self, fingerprint: str) -> None:
        """Read what was trained at another time for this embedder. Lists wait until `start`: rows are to be added
        first, from the store. May be called by another thread, before anything else is."""
        if self._folder is not None:
            self._snapshots = Snapshots(self._folder, fingerprint, self.dim, self._seal)
            self._known = self._snapshots.read()
        self._is_loading = True

    def start(self) -> None:
        """All rows of the store are here: make the lists they need."""
        self._is_loading = False
        for name, part in self._partitions.items():
            self._look_at(name, part)
        for name in self._known:
            owner = self._partitions.get(name)
            if self._snapshots is not None and (owner is None or owner.build is None):
                self._snapshots.drop(name)
        self._known = {}

    def settle(self) -> bool:
        """Use what the background has made, and go a step towards the budget; whether nothing is left to do."""
        is_settled, self.num_slow = True, 0
        for part in list(self._partitions.values()):
            if part.build is not None:
                is_settled = part.settle() and is_settled
                self._weigh(part)
                self.num_slow += self._is_slow(part)
        return not self._keep_budget() and is_settled

    def cancel(self) -> None:
        """Let background work end soon."""
        for part in self._partitions.values():
            part.cancel()

    def close(self) -> None:
        """Let background work end, wait for it, and keep what is trained. Any thread may, once nobody else calls."""
        builds = [part.build for part in self._partitions.values() if part.build is not None]
        self.cancel()
        for build in builds:
            build.join()
        for name, part in self._partitions.items():
            if self._snapshots is not None:
                part.save(partial(self._snapshots.write, name))

    def _look_at(self, name: bytes, part: Partition) -> None:
        if self._is_loading or not part.wants_lists():
            return
        keep = partial(self._snapshots.write, name) if self._snapshots is not None else None
        part.begin(self._turn, self._known.get(name), keep)

    # -- budget ------------------------------------------------------------------------------------------------------

    def _searched(self, name: bytes) -> Partition | None:
        part = self._partitions.get(name)
        if part is not None and self._budget_bytes is not None:
            self._partitions[name] = self._partitions.pop(name)
        return part

    def _keep_budget(self) -> bool:
        """A step towards the budget: a few rows go. False: nothing to do."""
        if self._budget_bytes is None or self._nbytes <= self._budget_bytes or self._size <= 1:
            return False
        for _ in range(LET_GO):
            if self._nbytes > self._budget_bytes and self._size > 1:
                self._let_go()
        return True

    def _let_go(self) -> None:
        name = next(iter(self._partitions))
        rows = self._partitions[name].rows
        id = rows.least_useful()
        is_taken = self.pass_on is not None and self.pass_on(name, id, rows.gather([rows.slot_of(id) or 0])[0])
        if self.num_let_go == 0:
            lot = "looked for elsewhere" if is_taken else "found by its exact words only"
            log.warning("the vector index is full: what is found least is let go, and is %s", lot)
        self.remove(name, id)
        self.num_let_go += 1

    def _as_row(self, vector: Vector) -> Floats:
        row = np.ascontiguousarray(vector, np.float32)
        if row.shape != (self.dim,):
            raise ValueError(f"a vector of shape {row.shape} in an index of dim {self.dim}")
        if not isfinite(row @ row):
            raise ValueError("a vector with NaN or infinity")
        return row
