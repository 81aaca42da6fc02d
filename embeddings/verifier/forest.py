"""A forest of extremely randomised trees (Geurts et al. 2006) as four arrays: grown by scikit-learn, walked by numpy.

node   0          1          2     ...     a leaf has feature -1, and its share of true labels for a threshold
left child of n is n + 1, its right child right[n] > n: a walk ends whatever the numbers are
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embeddings.base import EmbedderError

Arrays = Mapping[str, NDArray[Any]]

NUM_TREES = 40  # with 120 a fit takes two to three times as long, for 0.3 % less log loss
MAX_DEPTH = 14
_SEED = 20251121
_LEAF = -1


def grow(rows: NDArray[np.float32], labels: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """A forest that tells the rows' labels. The same rows, the same forest."""
    ensemble = import_module("sklearn.ensemble")
    least = max(2, len(rows) // 1000)
    model = ensemble.ExtraTreesClassifier(
        NUM_TREES, min_samples_leaf=least, max_depth=MAX_DEPTH, random_state=_SEED, n_jobs=1
    )
    model.fit(rows, labels > 0.5)
    trees = [one.tree_ for one in model.estimators_]
    roots = np.cumsum([0] + [tree.node_count for tree in trees])
    is_leaf = np.concatenate([tree.children_left < 0 for tree in trees])
    shares = np.concatenate([tree.value[:, 0, -1] / tree.value[:, 0].sum(axis=1) for tree in trees])
    return {
        "forest_roots": roots[:-1].astype(np.int32),
        "forest_feature": np.where(is_leaf, _LEAF, np.concatenate([tree.feature for tree in trees])).astype(np.int16),
        "forest_right": np.concatenate(
            [np.maximum(tree.children_right, 0) + start for tree, start in zip(trees, roots[:-1], strict=True)]
        ).astype(np.int32),
        "forest_threshold": np.where(is_leaf, shares, np.concatenate([tree.threshold for tree in trees])).astype(
            np.float32
        ),
    }


def shares(arrays: Arrays, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the forest says of every row: the mean share of true labels in the leaves it falls into."""
    feature, right = arrays["forest_feature"], arrays["forest_right"]
    threshold = arrays["forest_threshold"]
    nodes = np.broadcast_to(arrays["forest_roots"], (len(rows), len(arrays["forest_roots"])))
    places = np.arange(len(rows))[:, None]
    while (walking := feature[nodes] != _LEAF).any():
        is_left = rows[places, np.maximum(feature[nodes], 0)] <= threshold[nodes]
        nodes = np.where(walking, np.where(is_left, nodes + 1, right[nodes]), nodes)
    found: NDArray[np.float64] = threshold[nodes].mean(axis=1, dtype=np.float64)
    return found


def check_forest(arrays: Arrays, num_features: int) -> None:
    """Raise `EmbedderError` naming the array that no walk could trust."""
    feature, right, roots = (arrays[f"forest_{name}"] for name in ("feature", "right", "roots"))
    count = len(feature)
    inner = feature != _LEAF
    if not (count and ((feature >= _LEAF) & (feature < num_features)).all()):
        raise EmbedderError("the verifier's forest_feature names features there are not")
    if len(right) != count or not ((right > np.arange(count)) & (right < count))[inner].all() or inner[-1]:
        raise EmbedderError("the verifier's forest_right leads out of the forest")
    if len(arrays["forest_threshold"]) != count:
        raise EmbedderError("the verifier's forest_threshold is not one per node")
    if not (len(roots) and ((roots >= 0) & (roots < count)).all()):
        raise EmbedderError("the verifier's forest_roots are not in the forest")
