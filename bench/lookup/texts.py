"""Vectors like those of questions: a real one, leaning to another, and a little noise; as many as are asked for.

Chosen so that the nearest and the eighth of 10,000 lie as far as real questions' do (cosines at p10, p50 and p90:
nearest 0.69, 0.84, 0.94, real 0.61, 0.86, 0.98; eighth 0.45, 0.61, 0.75, real 0.42, 0.67, 0.82). Without the data,
directions at random take the questions' place.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.datasets import DataError, find, read_rows, stream_of
from bench.quality.readings import readings_of

DIM = 384
NOISE = 0.2  # of each dimension's own spread
STREAMS = ("banking77", "clinc150_static", "disfl_qa", "spider", "mixed_zipf")
EACH = 800  # texts of a stream
AT_ONCE = 16_384

Floats = NDArray[np.float32]


def middles() -> tuple[Floats, str]:
    """What they are made from, and where that is from."""
    try:
        texts = [text for name in STREAMS for text in _texts(name)]
    except DataError:
        drawn = np.random.default_rng(0).standard_normal((2000, DIM), dtype=np.float32)
        return _unit(drawn), "from 2,000 random directions: no data here"
    from embeddings.local import SentenceTransformerEmbedder

    readings = readings_of(texts, SentenceTransformerEmbedder().load())
    return np.stack([readings[text].vector for text in texts]), f"from {len(texts):,} real questions"


def like(middles: Floats, count: int, seed: int) -> Iterator[Floats]:
    """`count` unit vectors between and around these, some at a time."""
    draw, spread = np.random.default_rng(seed), np.float32(NOISE) * middles.std(axis=0)
    for start in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - start)
        found = middles[draw.integers(0, len(middles), size)].copy()
        found += draw.random((size, 1), np.float32) * middles[draw.integers(0, len(middles), size)]
        found += spread * draw.standard_normal(found.shape, dtype=np.float32)
        yield _unit(found)


def _texts(name: str) -> list[str]:
    prompts = dict.fromkeys(str(talk.turns[0].user["content"]) for talk in stream_of(read_rows(find(name, "streams"))))
    return [text for text in prompts if len(text) < 300][:EACH]


def _unit(rows: Floats) -> Floats:
    found: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found
