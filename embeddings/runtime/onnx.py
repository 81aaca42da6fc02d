"""The forward of a BERT body by onnxruntime: one call for the texts of a batch, without the GIL.

No torch: a gateway that embeds is 100 MB of memory and not 600. Weights of products are laid out once; the table of
words stays in the checkpoint's file, and the pages that lookups touched are given back now and then.
"""

import mmap
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from embeddings.base import Vectors
from embeddings.runtime.checkpoint import Checkpoint
from embeddings.runtime.forward import Computed, Unsuited
from embeddings.runtime.graph import WORDS, graph_of

KEEP_PAGES_FOR = 256  # words: each touches up to 64 KB of pages


class OnnxForward:
    """A checkpoint's body in float32. Any thread may call it."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 1: the calling thread alone
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        options.enable_mem_pattern = False  # would remember one for every shape that it met
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(checkpoint.weights.parent)
        )
        try:
            graph = graph_of(checkpoint)
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except KeyError as exc:
            raise Unsuited(f"its weights are not where a BERT has them: {exc!r}") from exc
        except Exception as exc:  # onnxruntime's errors have no class of their own in common
            raise Unsuited(f"onnxruntime cannot compute it: {exc}") from exc
        self._words = _Words(checkpoint)
        self._pooling = checkpoint.pooling

    def __call__(self, texts: Sequence[list[int]]) -> Computed:
        """Compute texts, given by their ids; each has one at least."""
        fed = fed_by([len(ids) for ids in texts], self._pooling)
        fed["words"] = self._words[[number for ids in texts for number in ids]]
        try:
            pooled, states = self._session.run(["pooled", "states"], fed)
        except Exception as exc:  # as above
            raise RuntimeError(f"onnxruntime: {exc}") from exc
        ends = accumulate(len(ids) for ids in texts)
        return Computed(pooled, [states[end - len(ids) : end] for ids, end in zip(texts, ends, strict=True)])


def fed_by(lengths: Sequence[int], pooling: str) -> dict[str, NDArray[np.generic]]:
    """What the graph is given for texts of these lengths, but their words."""
    counts = np.array(lengths)
    starts = np.cumsum(counts) - counts
    places = np.arange(counts.max())
    seen = places < counts[:, None]
    share = np.zeros((len(counts), int(counts.sum())), np.float32)
    for row, start, count in zip(share, starts, counts, strict=True):
        if pooling == "cls":
            row[start] = 1.0
        else:
            row[start : start + count] = 1.0 / count
    return {
        "places": np.broadcast_to(places, seen.shape)[seen],
        "grid": np.where(seen, starts[:, None] + places, 0),
        "seen": seen.astype(np.int32),
        "back": np.flatnonzero(seen),
        "share": share,
    }


class _Words:
    """Rows of the table of words, read from the file."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        table = checkpoint.tensors[WORDS]
        with checkpoint.weights.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        numbers = np.frombuffer(self._pages, "<f4", table.size_bytes // 4, table.start)
        self._table = numbers.reshape(table.shape)
        self._looked_up = 0

    def __getitem__(self, ids: list[int]) -> Vectors:
        rows = self._table[ids]
        self._looked_up += len(ids)
        if self._looked_up >= KEEP_PAGES_FOR and hasattr(mmap, "MADV_DONTNEED"):
            self._looked_up = 0
            self._pages.madvise(mmap.MADV_DONTNEED)  # they stay in the kernel's cache
        return rows
