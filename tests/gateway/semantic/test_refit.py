"""Verifiers are fitted to labels, judged on labels held back, kept in versions, and can be gone back from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Label
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, dump, load_verifier, parse
from gateway.offline.calibrate import numbers_of
from gateway.semantic.labels import Given, LabelStore
from gateway.semantic.lanes import Lanes
from gateway.semantic.learner import Learner, in_words
from gateway.semantic.refit import GROWTH, Outcome, Work, folds_of, pack, refit, unpack_work
from gateway.semantic.rule import LaneKey, LaneRule
from gateway.semantic.shelf import SHIPPED, Shelf
from tests.gateway.semantic.pairs import pairs

LANE, OTHER = LaneKey("t", "default"), LaneKey("u", "default")
RULE = LaneRule(LANE, "on", 0.01, 0.02)


@pytest.fixture(scope="module")
def start(minilm: SentenceTransformerEmbedder) -> Work:
    """Labelled pairs and the shipped verifier."""
    rows = list(pairs(160))
    numbers, _ = numbers_of([(a, b) for a, b, _ in rows], minilm)
    labels = np.array([is_right for *_, is_right in rows], np.float64)
    shipped = dump(load_verifier(minilm.fingerprint))
    return Work(numbers, labels, folds_of([a for a, *_ in rows]), 0, shipped, shipped)


@pytest.fixture(scope="module")
def fitted(start: Work) -> Outcome:
    return refit(start)


def test_a_verifier_that_is_better_on_what_was_held_back_is_kept(fitted: Outcome) -> None:
    assert fitted.verifier
    assert fitted.loss < 0.8 * fitted.loss_in_use
    assert fitted.held == 40


def test_labels_without_a_rule_change_nothing(start: Work) -> None:
    in_use = parse(start.current)
    knows_nothing = {"weights": np.zeros_like(in_use.arrays["weights"]), "bias": np.zeros(1, np.float32)}
    flat = dump(Verifier(in_use.family, {**in_use.arrays, **knows_nothing}))
    noise = np.random.default_rng(1).permutation(start.labels)

    assert refit(replace(start, labels=noise, current=flat)).verifier == b""


def test_labels_of_one_kind_fit_nothing_and_the_log_says_so_without_numbers_that_are_none(start: Work) -> None:
    outcome = refit(replace(start, labels=np.ones_like(start.labels)))

    assert outcome.verifier == b""
    assert in_words(outcome) == "stays: 40 new labels to hold back are too few, or all of one kind"


def test_what_the_one_in_use_was_fitted_on_is_not_held_back(start: Work) -> None:
    assert refit(replace(start, fresh_from=150)).verifier == b""
    assert refit(replace(start, fresh_from=130)).held == 30


def test_work_crosses_to_another_process_whole(start: Work, fitted: Outcome) -> None:
    assert refit(unpack_work(pack(start))) == fitted


def test_the_shelf_has_versions_by_lane_and_one_may_be_chosen(tmp_path: Path, fitted: Outcome) -> None:
    shelf, mine = Shelf(tmp_path), "a:b"
    first = shelf.put(LANE, fitted.verifier, mine, until_seq=7).stem

    assert (shelf.in_use(LANE, mine).name, shelf.in_use(LANE, mine).until_seq) == (first, 7)
    assert shelf.in_use(OTHER, mine).name == SHIPPED
    assert shelf.in_use(LANE, "another:embedder").name == SHIPPED
    assert not shelf.choose(LANE, "0002-9")
    assert shelf.choose(LANE, SHIPPED)
    assert shelf.in_use(LANE, mine).name == SHIPPED
    second = shelf.put(LANE, fitted.verifier, mine, until_seq=9).stem
    assert shelf.in_use(LANE, mine).name == second
    assert shelf.choose(LANE, first)
    assert shelf.in_use(LANE, mine).name == first
    assert [path.stat().st_mode & 0o077 for path in tmp_path.rglob("*.safetensors")] == [0, 0]


def test_a_damaged_version_gives_way_to_the_one_before(tmp_path: Path, fitted: Outcome) -> None:
    shelf, mine = Shelf(tmp_path), "a:b"
    everybodys = shelf.put(None, fitted.verifier, mine).stem
    shelf.put(LANE, fitted.verifier[:-9], mine, until_seq=1)

    assert shelf.in_use(LANE, mine).name == everybodys
    for number in range(8):
        shelf.put(LANE, fitted.verifier, mine, until_seq=number)
    assert len(shelf.versions(LANE)) == 5


@pytest.fixture
def batcher(minilm: SentenceTransformerEmbedder) -> EmbeddingBatcher:
    return EmbeddingBatcher(lambda: minilm)


async def test_enough_labels_begin_a_fit_in_a_process_of_its_own_whatever_else_is_among_them(
    tmp_path: Path, batcher: EmbeddingBatcher
) -> None:
    embedder = await batcher.ready()
    labels, shelf = LabelStore(tmp_path / "labels.db", per_tenant=1000), Shelf(tmp_path / "verifiers")
    await labels.open()
    lanes = Lanes(labels, b"s" * 32, lambda lane: shelf.minds(lane, embedder.fingerprint))
    learner = Learner(labels, lanes, batcher, shelf)
    before = (await lanes.report(RULE)).verifier.name
    total = 0
    unreadable = (
        "怎么重置密码",
        "如何重设密码",
        True,
    )  # a bare form's label: MiniLM cannot read it, and the fit goes on
    for number, (a, b, is_right) in enumerate([unreadable, *pairs(160)]):
        label = Label(a, b, f"e_{number}", is_right, "shadow", 0.5, (), True, float(number))
        total = await lanes.learn(RULE, [Given(LANE, b"s" * 32, label)])
    assert total == 161
    for _ in range(int(GROWTH * total) + 1):
        learner.note(LANE, total)
    await learner.settled()

    assert learner.fits == {"kept": 1}
    assert (await lanes.report(RULE)).verifier.name != before
    assert (await lanes.report(LaneRule(OTHER, "on", 0.01, 0.02))).verifier.name == before
    await learner.close()
    await labels.close()
    await lanes.close()
    await batcher.close()
