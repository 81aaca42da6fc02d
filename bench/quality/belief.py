"""Fit what a lane believes before its first label: `python -m bench.quality.belief` prints the weights of
`embeddings/control/prior.py`.

A lane that never serves walks each stream in three orders, with the verifier that has not seen it, and learns all the
while who is of one family. What it saw of every neighbour that no guard minds, and whether its answer would have been
right, are the rows of one logistic regression in which every stream counts alike. A stream's own row in the report is
made with the weights of the others.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from bench.quality.memo import Remembering
from bench.quality.policies import Served
from bench.quality.streams import Stream
from bench.quality.walk import Learned, Question, walk
from embeddings.control.prior import CAUTIOUS, Prior, fitted
from embeddings.control.support import FEATURES
from embeddings.verifier import Verifier
from embeddings.verifier.logistic import Numbers, regress

FITTED_ON = (
    "clinc150_static",
    "banking77",
    "disfl_qa",
    "spider",
    "gsm_plus",
    "gptcache_mock_replay",
    "arena_hard_distinct",
)
ORDERS = (None, 1, 2)
KEPT = Path(__file__).resolve().parents[1] / "out" / "quality"
_NEVER = 1e-9
_WEIGHT = 3000.0  # of a stream, in labels
_PULL = 10.0

Rows = tuple[Numbers, Numbers]  # features of neighbours, whether they were right


class Watching(Served):
    """A lane that serves nothing and keeps what it saw."""

    def __init__(self, first: Remembering, seed: int | None) -> None:
        super().__init__(first, _NEVER, seed, prior=CAUTIOUS)
        self.features: list[tuple[float, ...]] = []
        self.labels: list[float] = []

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned:
        if self.verdict is not None:
            for looked, right in zip(self.verdict.looked, is_right, strict=False):
                if looked.features:
                    self.features.append(looked.features[: len(FEATURES)])
                    self.labels.append(float(right))
        return super().learn(question, is_right)

    def choose_wording(self, text: str, stored: str) -> bool:
        super().choose_wording(text, stored)
        return False


def rows_of(streams: Sequence[tuple[Stream, Verifier]]) -> dict[str, Rows]:
    """What lanes saw of each stream; kept until the code that decides it, or the verifiers, change."""
    return {stream.name: _rows(stream, verifier) for stream, verifier in streams}


def without(origins: Sequence[str], seen: Mapping[str, Rows]) -> Prior:
    """What all streams agree on that are of none of these sources; cautious when there is no other."""
    used = [rows for name, rows in seen.items() if origin(name) not in origins and len(rows[1])]
    return fitted(weights(used)) if used else CAUTIOUS


def weights(used: Sequence[Rows]) -> tuple[float, ...]:
    features, labels = (np.concatenate([rows[n] for rows in used]) for n in (0, 1))
    each = np.concatenate([np.full(len(rows[1]), _WEIGHT / len(rows[1])) for rows in used])
    count = features.shape[1]
    found = regress(features, labels, np.zeros(count), np.full(count, _PULL), each)
    return tuple(float(weight) for weight in found)


def origin(name: str) -> str:
    """The source of a stream."""
    return name.removesuffix("_static").removesuffix("_replay")


def _rows(stream: Stream, verifier: Verifier) -> Rows:
    kept = KEPT / f"belief-{stream.name}-{_digest(stream, verifier)}.npz"
    if not kept.is_file():
        first, features, labels = Remembering(verifier, stream.memo), list[tuple[float, ...]](), list[float]()
        for seed in ORDERS:
            lane = Watching(first, seed)
            for _ in walk(stream, stream.shuffled(seed), lane, lane):
                pass
            features += lane.features
            labels += lane.labels
        stream.memo.save()
        shaped = np.array(features, np.float64).reshape(-1, len(FEATURES))
        np.savez(kept, features=shaped, labels=np.array(labels))
    with np.load(kept, allow_pickle=False) as arrays:
        return arrays["features"], arrays["labels"]


def _digest(stream: Stream, verifier: Verifier) -> str:
    digest = blake2b(f"{stream.fingerprint} {verifier.name}".encode(), digest_size=8)
    package = Path(__file__).resolve().parents[2] / "embeddings"
    for path in sorted([*(package / "control").glob("*.py"), *(package / "guards").rglob("*.py")]):
        if path.name != "prior.py":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    from bench.quality.loading import load  # it needs what is above

    streams = load(FITTED_ON)
    seen = rows_of([(one.stream, one.left_out.verifier) for one in streams.values()])
    for left in (*FITTED_ON, ""):
        found = weights([rows for name, rows in seen.items() if name != left and len(rows[1])])
        print(f"{f'without {left}' if left else 'all'}: ({', '.join(f'{weight:.2f}' for weight in found)})")


if __name__ == "__main__":
    main()
