"""What the precision of an embedder does to decisions: `python -m bench.quality.precision [PAIRS_PER_FILE]`.

The shipped verifier was fitted on readings in float32 by sentence-transformers. The same pairs are judged on readings
of our own forward: how far probabilities stray, and of 10,000 pairs, how many change sides of a threshold. What guards
refuse is refused whatever the numbers, so those pairs are left out.
"""

import random
import sys
from collections.abc import Sequence

import numpy as np

from bench.datasets import DATA
from bench.quality.sources import PAIR_FILES, Asked, read_pairs
from embeddings.base import Embedder
from embeddings.guards import first_refusal
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, load_verifier
from embeddings.verifier.features import FEATURES
from embeddings.verifier.logistic import Numbers
from embeddings.verifier.model import pairs_of

THRESHOLDS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
COSINES = (0.9, 0.95, 0.97)
_COSINE = FEATURES.index("cosine")


def main(arguments: Sequence[str]) -> int:
    if not (DATA / "pairs").is_dir():
        print(f"no evaluation data: there is no {DATA / 'pairs'}")
        return 0
    reference = SentenceTransformerEmbedder(threads=1).load()
    asked = _asked(reference, int(arguments[0]) if arguments else 500)
    verifier = load_verifier(reference.fingerprint)
    print(f"{len(asked)} pairs that guards let pass, {verifier.name}")
    right = _judged(asked, reference, verifier)
    for precision in ("float32", "bfloat16"):
        _tell(precision, _judged(asked, reference.quickened(precision), verifier), right)
    return 0


def _asked(embedder: Embedder, per_file: int) -> list[Asked]:
    found = []
    for name in PAIR_FILES:
        rows = [row for row in read_pairs(name) if first_refusal(row.a, row.b) is None]
        rows = [row for row in rows if embedder.fits(row.a) and embedder.fits(row.b)]
        found += random.Random(name).sample(rows, min(per_file, len(rows)))
    return found


def _judged(asked: Sequence[Asked], embedder: Embedder, verifier: Verifier) -> tuple[Numbers, Numbers]:
    """Probabilities and cosines."""
    texts = list(dict.fromkeys(text for one in asked for text in (one.a, one.b)))
    readings = {text: embedder.read([text])[0] for text in texts}  # one by one, as a gateway at rest does
    pairs = pairs_of([(readings[one.a], readings[one.b]) for one in asked])
    return verifier.probabilities(pairs), pairs.features[:, _COSINE].astype(np.float64)


def _tell(name: str, ours: tuple[Numbers, Numbers], right: tuple[Numbers, Numbers]) -> None:
    for what, thresholds, some, true in zip(("probability", "cosine"), (THRESHOLDS, COSINES), ours, right, strict=True):
        off = np.abs(some - true)
        print(f"{name:9s} {what:11s} off by {off.max():.2g} at most, {np.quantile(off, 0.99):.2g} in 1 of 100")
        for threshold in thresholds:
            changed = (some >= threshold) != (true >= threshold)
            print(f"    at {threshold:<5g} {(true >= threshold).sum():6d} served, of 10,000 pairs"
                  f" {1e4 * changed.mean():6.1f} change sides")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
