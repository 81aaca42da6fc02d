"""Labelled pairs of questions, as numbers: the pair files, and of every stream each prompt with its near predecessors.

Pair files are stress tests: their negatives are chosen to be close, so "closer" reads as "wrong" in some. Neighbours
in a stream are what a cache really has to judge. The numbers are kept in bench/out/quality until the features change.
"""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.datasets import DATA, DataError, read_rows
from bench.quality.readings import Readings, readings_of
from embeddings.base import Embedder
from embeddings.guards import first_refusal
from embeddings.verifier.fitting import fold_of
from embeddings.verifier.model import Pairs, pairs_of

KEPT = Path(__file__).resolve().parents[1] / "out" / "quality"
PAIR_FILES = (
    "banking77",
    "disfl_qa",
    "gptcache_mock",
    "gsm_plus",
    "spider",
    "crosswoz_zh",
    "paws_x_zh",
    "xquad_en_zh",
)
STREAM_FILES = ("arena_hard_distinct", "banking77", "clinc150_static", "disfl_qa", "gsm_plus", "spider")
NEIGHBOURS = 4
SAMPLED = 60  # pairs whose numbers are computed anew each time, to see whether those kept still hold
LEAST_SIMILAR = 0.3  # a neighbour further off is nobody's candidate


@dataclass(frozen=True, slots=True)
class Asked:
    """Two questions, and whether one answer serves both."""

    a: str
    b: str
    label: bool


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file, with the numbers that verifiers look at."""

    name: str  # "pairs/spider"
    origin: str  # "spider": what is left out when it is tested
    pairs: Pairs
    labels: NDArray[np.float64]
    is_refused: NDArray[np.bool_]  # by a guard
    folds: NDArray[np.int64]

    @property
    def is_stream(self) -> bool:
        return self.name.startswith("streams/")


def load_sources(embedder: Embedder) -> list[Source]:
    """Every pair file, then the neighbours of every stream. Raises `DataError` where the data is absent."""
    if not (DATA / "pairs").is_dir():
        raise DataError(f"there is no {DATA / 'pairs'}")
    questions = {f"pairs/{name}": read_pairs(name) for name in PAIR_FILES}
    streams = {name: list(read_rows(DATA / "streams" / f"{name}.jsonl.gz")) for name in STREAM_FILES}
    texts = [text for asked in questions.values() for one in asked for text in (one.a, one.b)]
    readings = readings_of([*texts, *(row["prompt"] for rows in streams.values() for row in rows)], embedder)
    for name, rows in streams.items():
        scopes = [str(row.get("scope", "")) for row in rows]
        questions[f"streams/{name}"] = neighbours(
            [row["prompt"] for row in rows], [str(row["class_id"]) for row in rows], scopes, readings
        )
    return [_source(name, asked, readings, embedder) for name, asked in questions.items()]


def read_pairs(name: str) -> list[Asked]:
    """The rows of a pair file."""
    with gzip.open(DATA / "pairs" / f"{name}.tsv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Asked(row["query_a"], row["query_b"], row["label"] == "1") for row in rows]


def neighbours(
    prompts: Sequence[str], classes: Sequence[str], scopes: Sequence[str], readings: Readings
) -> list[Asked]:
    """Each prompt with its nearest predecessors in its scope, equal texts apart."""
    vectors = np.stack([readings[prompt].vector for prompt in prompts])
    found = []
    for n, prompt in enumerate(prompts):
        similar = vectors[:n] @ vectors[n]
        apart = [m for m in range(n) if scopes[m] != scopes[n] or prompts[m] == prompt]
        similar[apart] = -1.0
        nearest = [m for m in np.argsort(-similar, kind="stable")[:NEIGHBOURS] if similar[m] > LEAST_SIMILAR]
        found += [Asked(prompt, prompts[m], classes[m] == classes[n]) for m in nearest]
    return found


def _source(name: str, asked: Sequence[Asked], readings: Readings, embedder: Embedder) -> Source:
    kept = KEPT / f"{_digest(name, asked, readings, embedder)}.npz"
    if not kept.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        pairs = pairs_of([(readings[one.a], readings[one.b]) for one in asked])
        refused = np.array([first_refusal(one.a, one.b) is not None for one in asked])
        np.savez(kept, features=pairs.features, left=pairs.left, right=pairs.right, refused=refused)
    with np.load(kept, allow_pickle=False) as arrays:
        pairs = Pairs(arrays["features"], arrays["left"], arrays["right"])
        refused = arrays["refused"]
    origin = name.split("/")[1].removesuffix("_static")
    labels = np.array([one.label for one in asked], np.float64)
    return Source(name, origin, pairs, labels, refused, np.array([fold_of(one.a) for one in asked]))


def _digest(name: str, asked: Sequence[Asked], readings: Readings, embedder: Embedder) -> str:
    """Of the pairs, the embedder, and the numbers of some of them: other numbers there mean others everywhere."""
    digest = blake2b(f"{name} {embedder.fingerprint}".encode(), digest_size=8)
    for one in asked:
        digest.update(f"{one.a}\t{one.b}\t{one.label}\n".encode())
    for one in asked[:: max(len(asked) // SAMPLED, 1)]:
        numbers = pairs_of([(readings[one.a], readings[one.b])]).features.round(3) + np.float32(0)  # no minus 0
        digest.update(numbers.tobytes() + f"{first_refusal(one.a, one.b) is None}".encode())
    return f"{name.replace('/', '-')}-{digest.hexdigest()}"
