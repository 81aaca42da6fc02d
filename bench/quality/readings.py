"""Readings of many texts, computed once and kept on disk: half an hour of pair and stream texts in a few seconds.

    bench/out/readings/<digest of the embedder's fingerprint>/0000/texts.json offsets.npy vectors.npy states.npy
    states are float16 (the product's are float32: scores differ by some 0.0005) and read from the file when asked for

A folder is a batch of texts that came together; what is new is added as another, and none is ever changed.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Embedder, Reading

KEPT = Path(__file__).resolve().parents[1] / "out" / "readings"
_AT_ONCE = 32


class _Batch:
    """One folder: row i of `texts` owns the states from offsets[i] to offsets[i + 1]."""

    def __init__(self, folder: Path) -> None:
        self.texts: list[str] = json.loads((folder / "texts.json").read_text("utf-8"))
        self._pieces: list[list[str]] = json.loads((folder / "pieces.json").read_text("utf-8"))
        self._offsets: NDArray[np.int64] = np.load(folder / "offsets.npy")
        self._vectors: NDArray[np.float32] = np.load(folder / "vectors.npy")
        self._states: NDArray[np.float16] = np.load(folder / "states.npy", mmap_mode="r")

    def reading(self, row: int) -> Reading:
        states = self._states[self._offsets[row] : self._offsets[row + 1]]
        pieces = tuple(self._pieces[row])
        return Reading(self.texts[row], self._vectors[row], pieces, np.asarray(states, np.float32))


class Readings(Mapping[str, Reading]):
    """Text to reading; what has been asked for stays in memory."""

    def __init__(self, batches: Sequence[_Batch]) -> None:
        self._places = {text: (batch, row) for batch in batches for row, text in enumerate(batch.texts)}
        self._read: dict[str, Reading] = {}

    def __getitem__(self, text: str) -> Reading:
        if (reading := self._read.get(text)) is None:
            batch, row = self._places[text]
            reading = self._read[text] = batch.reading(row)
        return reading

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def readings_of(texts: Sequence[str], embedder: Embedder, kept: Path = KEPT) -> Readings:
    """The readings of `texts`, and of all others kept for this embedder; those nobody has read yet are read now."""
    home = kept / blake2b(embedder.fingerprint.encode(), digest_size=8).hexdigest()
    home.mkdir(parents=True, exist_ok=True)
    batches = [_Batch(folder) for folder in sorted(home.glob("[0-9]*"))]
    known = {text for batch in batches for text in batch.texts}
    if new := [text for text in dict.fromkeys(texts) if text not in known]:
        batches.append(_Batch(_read_and_keep(new, embedder, home)))
    return Readings(batches)


def _read_and_keep(texts: Sequence[str], embedder: Embedder, home: Path) -> Path:
    """Short texts first, so that little is padding; the folder appears under its name when it is whole."""
    readings: list[Reading] = []
    waiting = iter(sorted(texts, key=len))
    while some := list(islice(waiting, _AT_ONCE)):
        readings.extend(embedder.read(some))
    draft = Path(mkdtemp(prefix="draft-", dir=home))
    (draft / "texts.json").write_text(json.dumps([reading.text for reading in readings]), "utf-8")
    (draft / "pieces.json").write_text(json.dumps([reading.pieces for reading in readings]), "utf-8")
    np.save(draft / "offsets.npy", np.cumsum([0] + [len(reading.pieces) for reading in readings]))
    np.save(draft / "vectors.npy", np.stack([reading.vector for reading in readings]))
    np.save(draft / "states.npy", np.concatenate([reading.states for reading in readings]).astype(np.float16))
    name = home / f"{len(list(home.glob('[0-9]*'))):04d}"
    os.rename(draft, name)  # noqa: PTH104  (an existing folder, made by somebody beside us, is an error and not lost)
    return name
