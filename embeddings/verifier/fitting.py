"""Fit a verifier to an operator's own labels, beginning from a prior that is kept.

The parts (see `model.py`) are fitted on all labels, and how far to trust each on labels held back from it: the pairs
are dealt into folds, those of one question together, every fold is judged by parts fitted on the others, and a small
regression on these judgements, drawn to "the prior alone", gives the blend. So a handful of labels changes little,
and what is left is calibrated on the operator's own pairs.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.verifier import forest
from embeddings.verifier.logistic import Numbers, logits, regress
from embeddings.verifier.model import Arrays, Pairs, Verifier, own_rows, pairs_of, prior_logits, products

Pair = tuple[Reading, Reading, bool]

FOLDS = 5
FEWEST = 20  # labels, with some of either kind: under it nothing is learned
FEWEST_FOR_TREES = 100
FEWEST_FOR_PLACES = 1000  # where a pair lies is for many labels: with 650 of spider, recall fell by 5 points
DIRECTIONS = 64  # of the basis; fewer when there are few texts
_PULL = 3.0  # of the prior on a standardised weight
_PULL_PRODUCTS = 50.0  # products are many, and each says little
_PULL_BLEND = 2.0
_NEVER = 1e6


def fit(pairs: Sequence[Pair], start: Verifier) -> Verifier:
    """The verifier that explains `pairs` best without leaving the prior of `start` more than they justify; `start`
    itself when there are too few. Pure and deterministic; some seconds for thousands of pairs."""
    if not pairs:
        return start
    labels = np.array([label for _, _, label in pairs], np.float64)
    folds = np.array([fold_of(a.text) for a, _, _ in pairs])
    return fit_rows(pairs_of([(a, b) for a, b, _ in pairs]), labels, folds, start)


def fit_rows(pairs: Pairs, labels: Numbers, folds: NDArray[np.int64], start: Verifier) -> Verifier:
    """The same, for pairs whose numbers are known."""
    if min(len(labels) - labels.sum(), labels.sum()) < FEWEST / 4 or len(labels) < FEWEST:
        return start
    prior = {name: start.arrays[name] for name in ("mean", "scale", "weights", "bias")}
    judged = np.ones((len(labels), 4))
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and 0 < labels[~held].sum() < (~held).sum():
            arrays = _parts(pairs.take(~held), labels[~held], prior)
            judged[held] = judgements(arrays, pairs.take(held))
    arrays = _parts(pairs, labels, prior)
    rows = judged if "forest_roots" in arrays else judged[:, :3]
    first = np.array([0.0, 1.0, 0.0, 0.0])[: rows.shape[1]]
    blend = regress(rows, labels, first, np.full(rows.shape[1], _PULL_BLEND))
    return Verifier(start.family, {**arrays, "blend": blend.astype(np.float32)})


def judgements(arrays: Arrays, pairs: Pairs) -> Numbers:
    """A 1 and the logits of the three parts; a forest that is not there says nothing."""
    own: Numbers = own_rows(arrays, pairs) @ arrays["own"]
    trees = logits(forest.shares(arrays, pairs.features)) if "forest_roots" in arrays else np.zeros(len(own))
    return np.column_stack([np.ones(len(own)), prior_logits(arrays, pairs), own, trees])


def _parts(pairs: Pairs, labels: Numbers, prior: Arrays) -> Arrays:
    arrays = {**prior, **_basis(pairs)}
    rows = own_rows(arrays, pairs)
    first, penalty = np.zeros(rows.shape[1]), np.full(rows.shape[1], _PULL_PRODUCTS)
    known = len(prior["weights"]) + 1
    first[:known] = np.append(prior["weights"], prior["bias"])
    penalty[:known] = _PULL
    penalty[known - 1] = 0.1
    if len(labels) < FEWEST_FOR_PLACES:
        penalty[len(penalty) - (len(penalty) - known) // 3 :] = _NEVER  # the last third of the products
    arrays["own"] = regress(rows, labels, first, penalty).astype(np.float32)
    if len(labels) >= FEWEST_FOR_TREES:
        arrays.update(forest.grow(pairs.features, labels))
    return arrays


def _basis(pairs: Pairs) -> dict[str, NDArray[Any]]:
    """The directions in which the texts differ most, and the spread of products in it."""
    distinct = {row.tobytes(): row for side in (pairs.left, pairs.right) for row in side}
    vectors = np.array(list(distinct.values()), np.float64)
    count = min(DIRECTIONS, len(vectors) // 8)
    if not count:
        return {}
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    basis = directions[:, ::-1][:, :count].astype(np.float32)
    found = products(basis, pairs)
    return {
        "basis": basis,
        "product_mean": found.mean(axis=0).astype(np.float32),
        "product_scale": np.maximum(found.std(axis=0), 1e-6).astype(np.float32),
    }


def fold_of(question: str) -> int:
    """The fold that judges pairs of this question."""
    return int.from_bytes(blake2b(question.encode("utf-8", "replace"), digest_size=4).digest(), "little") % FOLDS
