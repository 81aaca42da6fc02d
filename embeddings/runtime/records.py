"""What the reference said of the texts that runtimes are tried on, kept: who has it needs no reference to be loaded.

One comes with the program for the model that comes by pip; `python -m embeddings.runtime.witness` makes others. Of a
state the first numbers are kept: a wrong step shows in all of them.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from embeddings.base import EmbedderError, Reading
from embeddings.runtime.agreement import TEXTS

STATE_NUMBERS = 8
_HEADER = "readings"


def record(readings: Sequence[Reading], digest: str) -> bytes:
    """Readings of `TEXTS` by a reference of these weights."""
    from safetensors.numpy import save

    told = {"digest": digest, "texts": TEXTS, "pieces": [reading.pieces for reading in readings]}
    arrays = {
        "vectors": np.stack([reading.vector for reading in readings]),
        "states": np.ascontiguousarray(np.concatenate([reading.states[:, :STATE_NUMBERS] for reading in readings])),
    }
    return bytes(save(arrays, {_HEADER: json.dumps(told)}))


def recorded(data: bytes, digest: str) -> list[Reading]:
    """The readings. Raises `EmbedderError` when they are of other weights or texts, or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        outer = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        told = json.loads(outer["__metadata__"][_HEADER])
        arrays = load(data)
        if (told["digest"], tuple(told["texts"])) != (digest, TEXTS):
            raise EmbedderError("the kept readings are of other weights, or of other texts")
        pieces = [tuple(map(str, some)) for some in told["pieces"]]
        states = np.split(arrays["states"], np.cumsum([len(some) for some in pieces])[:-1])
        return [Reading(*one) for one in zip(TEXTS, arrays["vectors"], pieces, states, strict=True)]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise EmbedderError(f"the kept readings cannot be read: {exc!r}") from exc


def known_readings(digest: str, folder: Path | None) -> list[Reading] | None:
    """What came with the program, or was kept in `folder`, for these weights."""
    for place in (files("embeddings.runtime"), folder):
        path = None if place is None else place / file_of(digest)
        if path is not None and path.is_file():
            return recorded(path.read_bytes(), digest)
    return None


def file_of(digest: str) -> str:
    """The name of its file."""
    return f"{digest}.readings"
