"""Exact nearest-neighbour search inside partitions that never see each other.

A partition is named by opaque bytes; the gateway names it after everything that must agree before two questions may
share an answer, so most partitions hold one to ten rows and a few hold thousands. Each is one flat inner-product FAISS
index: exact, no training, and a search cannot leave it by any filter forgotten.

Measured (384 dimensions, one thread): an index costs 312 bytes plus its rows (a numpy array 157, an IndexIDMap2 700),
a search 3 us at 1-64 rows, 20 us at 1,000, 240 us at 10,000; so even one row lies in FAISS and there is no second road.
Removal puts the last row into the hole and shortens the index by one: 6 us at 100,000 rows where `remove_ids` takes
0.1 to 13 ms.

Not safe between threads: one thread (the event loop, or one worker) makes every call.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embeddings.base import Vector


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored text near the one asked for; `similarity` is the cosine of unit vectors, -1 to 1."""

    id: str
    similarity: float
    text: str = ""


@dataclass(slots=True)
class _Partition:
    """Rows of `index` and of `ids` and `texts` run in parallel; `rows` says where an id is."""

    index: Any
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


class VectorIndex:
    """Vectors of one embedder, by partition and id. Not safe between threads."""

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"dim {dim} is under 1")
        self.dim = dim
        self._partitions: dict[bytes, _Partition] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, partition: bytes, id: str, vector: Vector, text: str = "") -> None:
        """Keep `vector`, shape (dim,), under `id`; what was under it before is replaced."""
        row = self._as_row(vector)
        part = self._partitions.get(partition)
        if part is None:
            part = self._partitions[partition] = _Partition(faiss.IndexFlatIP(self.dim))
        at = part.rows.get(id)
        if at is not None:
            self._matrix(part)[at] = row[0]
            part.texts[at] = text
            return
        part.index.add(row)
        part.rows[id] = len(part.ids)
        part.ids.append(id)
        part.texts.append(text)
        self._size += 1

    def remove(self, partition: bytes, id: str) -> bool:
        """Forget `id`; False when it was not there. A partition that becomes empty is freed."""
        part = self._partitions.get(partition)
        hole = part.rows.pop(id, None) if part is not None else None
        if part is None or hole is None:
            return False
        self._size -= 1
        last_id, last_text = part.ids.pop(), part.texts.pop()
        if not part.ids:
            del self._partitions[partition]
            return True
        last = len(part.ids)
        if hole != last:
            matrix = self._matrix(part)
            matrix[hole] = matrix[last]
            part.ids[hole], part.texts[hole], part.rows[last_id] = last_id, last_text, hole
        part.index.codes.resize(last * part.index.code_size)
        part.index.ntotal = last
        return True

    def search(self, partition: bytes, vector: Vector, k: int) -> list[Candidate]:
        """The up to `k` nearest of the partition, nearest first."""
        query = self._as_row(vector)
        part = self._partitions.get(partition)
        if part is None or k < 1:
            return []
        similarities, rows = part.index.search(query, min(k, len(part.ids)))
        found = zip(similarities[0].tolist(), rows[0].tolist(), strict=True)
        return [Candidate(part.ids[row], similarity, part.texts[row]) for similarity, row in found if row >= 0]

    def is_empty(self, partition: bytes) -> bool:
        """Whether nothing is kept under this name: then a text need not be embedded to be looked for."""
        return partition not in self._partitions

    def sizes(self) -> dict[bytes, int]:
        """Rows of every partition."""
        return {name: len(part.ids) for name, part in self._partitions.items()}

    def ids(self, partition: bytes) -> Iterator[str]:
        """Every id of a partition, in no order."""
        part = self._partitions.get(partition)
        return iter(tuple(part.ids) if part is not None else ())

    def clear(self, partition: bytes | None = None) -> None:
        """Forget one partition, or everything."""
        if partition is None:
            self._partitions.clear()
            self._size = 0
            return
        part = self._partitions.pop(partition, None)
        self._size -= len(part.ids) if part is not None else 0

    def _as_row(self, vector: Vector) -> NDArray[np.float32]:
        row = np.ascontiguousarray(vector, np.float32)
        if row.shape != (self.dim,):
            raise ValueError(f"a vector of shape {row.shape} in an index of dim {self.dim}")
        if not np.isfinite(row).all():
            raise ValueError("a vector with NaN or infinity")
        return row.reshape(1, self.dim)

    def _matrix(self, part: _Partition) -> NDArray[np.float32]:
        """A view of the rows inside FAISS. Dead after the next add: growing moves them."""
        rows = part.index.ntotal
        view: NDArray[np.float32] = faiss.rev_swig_ptr(part.index.get_xb(), rows * self.dim)
        return view.reshape(rows, self.dim)
