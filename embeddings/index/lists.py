"""Inverted lists over the slots of a partition: which rows may be near. Scores are the rows' own affair.

Each slot's row is kept as 8-bit residuals in the list of its centroid (FAISS, direct map by hash table: taking one out
is microseconds). Trained on rows of the partition with fixed seeds by one thread.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embeddings.index.rows import Floats

SEED = 1
ROUNDS = 8  # of k-means
ROWS_PER_LIST = 40  # to train on
SLOT_BYTES = 72  # in a list and in the hash table, beside the code itself
LOPSIDED = 2.0  # a list layout that costs so many times what it did when it was trained is made anew


@dataclass(frozen=True, slots=True)
class Trained:
    """What training found: enough to put rows into lists without training again."""

    centroids: Floats  # (lists, dim)
    encoder: Floats  # the range of each dimension's residuals
    num_probes: int
    num_rows: int  # in the partition when it was trained
    imbalance: float


class Lists:
    """Slots by the centroid nearest to their row."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self._ivf: Any = _empty(trained.centroids)
        faiss.copy_array_to_vector(trained.encoder, self._ivf.sq.trained)
        self._ivf.is_trained = True
        self._ivf.nprobe = trained.num_probes

    def __len__(self) -> int:
        return int(self._ivf.ntotal)

    @property
    def nbytes(self) -> int:
        return len(self) * (int(self._ivf.code_size) + SLOT_BYTES) + 2 * self.trained.centroids.nbytes

    @property
    def is_lopsided(self) -> bool:
        """Whether rows came to crowd into few lists."""
        return bool(self._ivf.invlists.imbalance_factor() > LOPSIDED * self.trained.imbalance)

    def search(self, query: Floats, count: int) -> list[int]:
        """Up to `count` slots whose rows are probably the nearest."""
        _, slots = self._ivf.search(query[None], count)
        return [slot for slot in slots[0].tolist() if slot >= 0]

    def assign(self, rows: Floats) -> NDArray[np.int64]:
        """The list each row belongs to."""
        found: NDArray[np.int64] = self._ivf.quantizer.assign(rows, 1)[:, 0]
        return found

    def add(self, slots: NDArray[np.int64], rows: Floats, lists: NDArray[np.int64]) -> None:
        """Put rows of slots that are in no list into `lists`."""
        pointer = faiss.swig_ptr
        self._ivf.add_core(len(slots), pointer(rows), pointer(slots), pointer(lists))

    def make_room(self, lists: NDArray[np.int64]) -> None:
        """For so many rows in each list and no more; lists are empty."""
        for number, size in enumerate(np.bincount(lists, minlength=self._ivf.nlist).tolist()):
            self._ivf.invlists.resize(number, size)
            self._ivf.invlists.resize(number, 0)

    def put(self, slots: Sequence[int], rows: Floats) -> None:
        """Let these slots be found by these rows, whatever they held."""
        self.drop(slots)
        if len(slots):
            with _one_thread():
                self.add(np.array(slots, np.int64), rows, self.assign(rows))

    def drop(self, slots: Sequence[int]) -> None:
        """Find these slots no more; those in no list are passed over."""
        if len(slots):
            self._ivf.remove_ids(np.array(slots, np.int64))

    def reset(self) -> None:
        """Give the memory back; any thread may, once nobody else has these lists."""
        self._ivf.reset()

    def set_probes(self, count: int) -> None:
        self._ivf.nprobe = count

    @property
    def imbalance(self) -> float:
        return float(self._ivf.invlists.imbalance_factor())

    def assignments(self, num_slots: int) -> NDArray[np.int32]:
        """The list of each slot, -1 of one in none."""
        found = np.full(num_slots, -1, np.int32)
        for number in range(self._ivf.nlist):
            size = self._ivf.invlists.list_size(number)
            if size:
                slots = faiss.rev_swig_ptr(self._ivf.invlists.get_ids(number), size)
                found[slots[slots < num_slots]] = number
        return found


def num_lists(num_rows: int) -> int:
    """A power of two of about three times the root: 256 for 10,000 rows, 1,024 for 100,000, 2,048 for a million."""
    return int(min(2048, max(16, 2 ** round(np.log2(3 * np.sqrt(num_rows))))))


def cluster(sample: Floats, num_lists: int, start: Floats | None = None) -> Floats:
    """Centroids after one round of spherical k-means, from those of `start` where given."""
    kmeans = faiss.Kmeans(
        sample.shape[1], num_lists, niter=1, seed=SEED, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=4 * ROWS_PER_LIST,
    )  # fmt: skip
    kmeans.train(sample, init_centroids=start)
    assert kmeans.centroids is not None
    found: Floats = kmeans.centroids
    return found


def encoder_of(sample: Floats, centroids: Floats) -> Floats:
    """The ranges that the residuals of a sample span."""
    ivf = _empty(centroids)
    ivf.train(sample)
    found: Floats = faiss.vector_to_array(ivf.sq.trained)
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS would wake a thread for each core to add one row."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _empty(centroids: Floats) -> Any:
    lists, dim = centroids.shape
    quantizer: Any = faiss.IndexFlatIP(dim)
    quantizer.add(centroids)
    kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    ivf: Any = faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, kind, metric, True)
    ivf.own_fields = True
    quantizer.this.disown()
    ivf.set_direct_map_type(ivf.direct_map.Hashtable)
    return ivf
