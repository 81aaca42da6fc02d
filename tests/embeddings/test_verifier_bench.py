from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.datasets import DATA
from bench.quality.fit import AGAINST, fit_prior
from bench.quality.pairs import auc, calibration_error, recall_at
from bench.quality.readings import readings_of
from bench.quality.sources import Asked, Source, neighbours, read_pairs
from embeddings.base import Reading
from embeddings.hashing import HashingEmbedder
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import load_verifier
from embeddings.verifier.features import FEATURES
from embeddings.verifier.model import Pairs, pairs_of

EMBEDDER = HashingEmbedder(32)


def test_readings_are_kept_and_only_new_texts_are_read(tmp_path: Path) -> None:
    read: list[str] = []

    class Counting(HashingEmbedder):
        def read(self, texts: Sequence[str]) -> list[Reading]:
            read.extend(texts)
            return super().read(texts)

    embedder = Counting(32)
    readings_of(["one", "two words", "one"], embedder, tmp_path)
    again = readings_of(["two words", "three"], embedder, tmp_path)

    assert read == ["one", "two words", "three"]
    kept, fresh = again["two words"], EMBEDDER.read(["two words"])[0]
    assert kept.pieces == fresh.pieces
    assert np.array_equal(kept.vector, fresh.vector)
    assert kept.states == pytest.approx(fresh.states, abs=1e-3)
    assert set(again) == {"one", "two words", "three"}


def test_neighbours_are_the_nearest_predecessors_of_the_scope(tmp_path: Path) -> None:
    prompts = ["open the door", "open the doors", "open the door", "open a door", "shut it"]
    readings = readings_of(prompts, EMBEDDER, tmp_path)

    found = neighbours(prompts, ["a", "a", "a", "b", "c"], ["", "", "", "other", ""], readings)

    assert found[0] == Asked("open the doors", "open the door", True)
    assert all(one.a != one.b for one in found)
    assert not [one for one in found if "open a door" in (one.a, one.b)]


def test_the_scores_are_what_they_are_called() -> None:
    labels, said = np.array([1.0, 1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.1])

    assert auc(labels, said) == pytest.approx(5 / 6)
    assert auc(labels, np.ones(5)) == 0.5
    assert np.isnan(auc(np.ones(3), np.arange(3.0)))
    assert recall_at(labels, said, 0.0) == pytest.approx(2 / 3)
    assert recall_at(labels, said, 0.25) == 1.0
    assert recall_at(labels, np.ones(5), 0.05) == 0.0
    assert calibration_error(np.array([1.0, 0, 1, 0]), np.full(4, 0.5)) == 0.0
    assert calibration_error(np.ones(4), np.full(4, 0.25)) == 0.75


def test_a_prior_keeps_cosine_and_lets_other_clues_speak_only_against() -> None:
    chance = np.random.default_rng(1)
    sources = []
    for number in range(2):  # in both, closer is wrong, and what should speak against a hit speaks for it
        labels = (chance.random(400) < 0.5).astype(np.float64)
        rows = chance.normal(size=(400, len(FEATURES))).astype(np.float32)
        rows[:, FEATURES.index("cosine")] -= labels
        rows[:, FEATURES.index("numbers_unpaired")] += labels
        rows[:, FEATURES.index("opposites")] -= labels
        zeros = np.zeros((400, 4), np.float32)
        refused, folds = np.zeros(400, np.bool_), np.zeros(400, np.int64)
        sources.append(Source(f"streams/{number}", str(number), Pairs(rows, zeros, zeros), labels, refused, folds))

    weights = dict(zip(FEATURES, fit_prior(sources, "x").arrays["weights"], strict=True))

    assert weights["numbers_unpaired"] == 0
    assert weights["opposites"] < 0
    assert all(weights[name] == 0 for name in FEATURES if name not in ("cosine", *AGAINST))


@pytest.mark.skipif(not (DATA / "pairs").is_dir(), reason="the shared evaluation data is not there")
def test_the_shipped_verifier_ranks_real_pairs_no_worse_than_cosine() -> None:
    embedder = SentenceTransformerEmbedder().load()
    asked = read_pairs("spider")[::20]
    left, right = (embedder.read(texts) for texts in ([one.a for one in asked], [one.b for one in asked]))
    pairs = pairs_of(list(zip(left, right, strict=True)))
    labels = np.array([one.label for one in asked], np.float64)
    cosine = pairs.features[:, FEATURES.index("cosine")].astype(np.float64)

    verifier = load_verifier(embedder.fingerprint)

    assert verifier.family
    assert auc(labels, verifier.probabilities(pairs)) >= auc(labels, cosine) - 0.01
