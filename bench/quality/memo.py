"""What guards and the verifier's features say of pairs of texts, computed once and kept on disk.

    bench/out/quality/memo-<stream>-<digest>.npz    pairs as i * n + j of the stream's distinct texts, i < j

Twenty shuffles at four targets ask about the same pairs again and again. The digest covers the texts, the embedder and
the source of everything that guards and features are made of: nothing stale is ever read.
"""

import os
from collections.abc import Generator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import embeddings
from embeddings.base import Reading
from embeddings.guards import first_refusal
from embeddings.verifier import Comparison, Verifier
from embeddings.verifier.features import FEATURES, features_of
from embeddings.verifier.model import Pairs, prior_rows

KEPT = Path(__file__).resolve().parents[1] / "out" / "quality"
_ALLOWED = "-"


class Memo:
    """Pairs of the texts of one stream."""

    def __init__(self, name: str, readings: Sequence[Reading], fingerprint: str, kept: Path = KEPT) -> None:
        self._readings = readings
        self._rows = {reading.text: row for row, reading in enumerate(readings)}
        self._refusals: dict[int, str | None] = {}
        self._features: dict[int, NDArray[np.float32]] = {}
        self._file = kept / f"memo-{name}-{_digest(readings, fingerprint)}.npz"
        self._saved = 0
        if self._file.is_file():
            self._load()

    def refusal(self, a: str, b: str) -> str | None:
        """What `first_refusal` says."""
        key = self._key(a, b)
        if key not in self._refusals:
            self._refusals[key] = first_refusal(a, b)
        return self._refusals[key]

    def features(self, a: str, b: str) -> NDArray[np.float32]:
        """What `features_of` says."""
        key = self._key(a, b)
        if (found := self._features.get(key)) is None:
            found = self._features[key] = features_of(self._readings[self._rows[a]], self._readings[self._rows[b]])
        return found

    def pairs(self, texts: Sequence[tuple[str, str]]) -> Pairs:
        """What `pairs_of` says."""
        return Pairs(
            np.stack([self.features(a, b) for a, b in texts]),
            np.stack([self._readings[self._rows[a]].vector for a, _ in texts]),
            np.stack([self._readings[self._rows[b]].vector for _, b in texts]),
        )

    def save(self) -> None:
        if len(self._refusals) + len(self._features) == self._saved:
            return
        if self._file.is_file():
            self._load()  # what another process has kept since
        self._saved = len(self._refusals) + len(self._features)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(f".{os.getpid()}.npz")
        np.savez(
            draft,
            refused=np.fromiter(self._refusals, np.int64),
            by=np.array([name or _ALLOWED for name in self._refusals.values()]),
            compared=np.fromiter(self._features, np.int64),
            features=np.stack([*self._features.values(), np.zeros(len(FEATURES), np.float32)])[:-1],
        )
        draft.replace(self._file)

    def _load(self) -> None:
        with np.load(self._file, allow_pickle=False) as kept:
            names = [None if name == _ALLOWED else str(name) for name in kept["by"]]
            self._refusals |= zip(kept["refused"].tolist(), names, strict=True)
            self._features |= zip(kept["compared"].tolist(), kept["features"], strict=True)
        self._saved = len(self._refusals) + len(self._features)

    def _key(self, a: str, b: str) -> int:
        first, second = sorted((self._rows[a], self._rows[b]))
        return first * len(self._readings) + second


class Remembering:
    """A verifier that looks at a pair once; it says what the verifier says."""

    def __init__(self, verifier: Verifier, memo: Memo) -> None:
        self.name, self.family = verifier.name, verifier.family
        self.verifier = verifier
        self.memo = memo
        self._said: dict[tuple[str, str], Comparison] = {}

    def compare(self, a: Reading, b: Reading) -> Comparison:
        if (said := self._said.get(_pair(a.text, b.text))) is None:
            self.look_ahead(a, [b])
            said = self._said[_pair(a.text, b.text)]
        return said

    def comparing(self, a: Reading, others: Sequence[Reading]) -> Generator[None, None, list[Comparison]]:
        yield from ()
        return [self.compare(a, other) for other in others]

    def look_ahead(self, a: Reading, several: Sequence[Reading]) -> None:
        """Judge pairs of one text at once: one by one each costs as much as all."""
        pairs = self.memo.pairs([(a.text, b.text) for b in several])
        in_spreads = prior_rows(self.verifier.arrays, pairs)[:, :-1]
        chances = self.verifier.probabilities(pairs)
        for b, chance, clues in zip(several, chances.tolist(), in_spreads.tolist(), strict=True):
            self._said[_pair(a.text, b.text)] = Comparison(chance, tuple(clues))


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)


def _digest(readings: Sequence[Reading], fingerprint: str) -> str:
    digest = blake2b(fingerprint.encode(), digest_size=8)
    for reading in readings:
        digest.update(reading.text.encode("utf-8", "surrogatepass") + b"\0")
    package = Path(embeddings.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path.parent.name not in _APART and path.name not in _ELSEWHERE and not path.name.startswith("bare_"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


_APART = (  # neither guards nor features are made of it; of readings the fingerprint tells
    "control",
    "index",
    "runtime",
)
_ELSEWHERE = (
    "lexical.py",
    "batcher.py",
    "memo.py",
    "outcomes.py",
    "index.py",
    "fitting.py",
    "forest.py",
    "cross_encoder.py",
    "shipped.py",
)
