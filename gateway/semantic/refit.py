"""Fit a verifier to a lane's labels, in a process of its own: some seconds of computing that nobody waits for.

    python -m gateway.semantic.refit < work > outcome      both npz archives, never pickles

The newest labels are held back. A verifier fitted on the older ones is compared with the one in use on them, by mean
log loss; only if it is better, one fitted on all labels takes its place. What the one in use was fitted on is not
counted for it: only labels that came later are held back.
"""

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.verifier import Verifier, dump, parse
from embeddings.verifier.fitting import FOLDS, fit_rows
from embeddings.verifier.model import Pairs

FEWEST = 60  # labels of a lane before the first fit
GROWTH = 0.5  # and so many more before each one after; with 0.25 twice as many fits, and nothing gained
MOST = 4000  # pairs, the newest
FEWEST_HELD = 20  # labels, with some of either kind
HELD_SHARE = 0.25
BETTER = 0.99  # times the loss of the one in use
NICE = 10


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Labelled pairs, oldest first; those from `fresh_from` on came after the verifier in use was fitted."""

    pairs: Pairs
    labels: NDArray[np.float64]
    folds: NDArray[np.int64]
    fresh_from: int
    start: bytes  # what a fit begins from
    current: bytes  # the verifier in use


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the two compare on what was held back; `verifier` is empty where the one in use stays."""

    verifier: bytes
    held: int
    loss: float
    loss_in_use: float


def is_due(total: int, since: int) -> bool:
    """Whether a lane with so many labels, so many of them since its last fit, is to be fitted now."""
    return total >= FEWEST and since >= max(FEWEST / 2, GROWTH * total)


def refit(work: Work) -> Outcome:
    """Fit, compare, and fit on all. Pure."""
    total = len(work.labels)
    first_held = max(work.fresh_from, total - max(FEWEST_HELD, int(total * HELD_SHARE)))
    held = np.arange(total) >= first_held
    right = work.labels[held]
    if held.sum() < FEWEST_HELD or not 0 < right.sum() < len(right) or held.all():
        return Outcome(b"", int(held.sum()), float("nan"), float("nan"))
    start, current = parse(work.start), parse(work.current)
    tried = fit_rows(work.pairs.take(~held), work.labels[~held], work.folds[~held], start)
    kept_back = work.pairs.take(held)
    loss, in_use = (log_loss(verifier, kept_back, right) for verifier in (tried, current))
    if loss > BETTER * in_use:
        return Outcome(b"", int(held.sum()), loss, in_use)
    return Outcome(dump(fit_rows(work.pairs, work.labels, work.folds, start)), int(held.sum()), loss, in_use)


def log_loss(verifier: Verifier, pairs: Pairs, labels: NDArray[np.float64]) -> float:
    """Mean of -log of the probability that was given to what came true."""
    chances = np.clip(verifier.probabilities(pairs), 1e-4, 1 - 1e-4)
    return float(-np.mean(labels * np.log(chances) + (1 - labels) * np.log(1 - chances)))


def folds_of(questions: Sequence[str]) -> NDArray[np.int64]:
    """The fold of every pair, by one of its questions: pairs of one question stay together."""
    digests = (blake2b(question.encode("utf-8", "replace"), digest_size=4).digest() for question in questions)
    return np.array([int.from_bytes(digest, "little") % FOLDS for digest in digests], np.int64)


def pack(work: Work) -> bytes:
    """`work` as an npz archive."""
    pairs = work.pairs
    return _packed(
        features=pairs.features,
        left=pairs.left,
        right=pairs.right,
        labels=work.labels,
        folds=work.folds,
        fresh_from=np.array(work.fresh_from),
        start=np.frombuffer(work.start, np.uint8),
        current=np.frombuffer(work.current, np.uint8),
    )


def unpack_work(raw: bytes) -> Work:
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        pairs = Pairs(found["features"], found["left"], found["right"])
        start, current = found["start"].tobytes(), found["current"].tobytes()
        return Work(pairs, found["labels"], found["folds"], int(found["fresh_from"]), start, current)


def unpack_outcome(raw: bytes) -> Outcome:
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        held, loss, in_use = (float(number) for number in found["numbers"])
        return Outcome(found["verifier"].tobytes(), int(held), loss, in_use)


def _packed(**arrays: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def main() -> int:
    """Read work, write the outcome."""
    os.nice(NICE)
    outcome = refit(unpack_work(sys.stdin.buffer.read()))
    numbers = np.array([outcome.held, outcome.loss, outcome.loss_in_use])
    sys.stdout.buffer.write(_packed(verifier=np.frombuffer(outcome.verifier, np.uint8), numbers=numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
