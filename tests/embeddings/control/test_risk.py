"""Bounds and accounts."""

import itertools
import random

import pytest

from embeddings.control.calibration import Calibration
from embeddings.control.risk import Ledger, allowance, clopper_pearson


@pytest.mark.parametrize(
    ("wrong", "n", "upper"),
    [(0, 299, 0.0099691), (0, 59, 0.0495076), (1, 100, 0.0465598), (5, 500, 0.0209103)],  # scipy.stats.beta.ppf
)
def test_the_upper_bound_is_the_binomial_one(wrong: int, n: int, upper: float) -> None:
    assert clopper_pearson(wrong, n, 0.95)[1] == pytest.approx(upper, abs=1e-6)


def test_three_hundred_clean_labels_show_one_percent_and_fewer_do_not() -> None:
    assert clopper_pearson(0, 299, 0.95)[1] <= 0.01 < clopper_pearson(0, 298, 0.95)[1]


def test_nothing_known_bounds_nothing() -> None:
    assert clopper_pearson(0, 0, 0.95) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "mean"), [(100, 0.3554), (400, 1.9702), (1000, 6.1690)])
def test_the_allowance_is_garwoods_limit(hits: int, mean: float) -> None:
    assert allowance(hits, 0.01, 0.95) == pytest.approx(mean, abs=1e-3)


def test_an_account_that_is_spent_to_its_end_keeps_the_target() -> None:
    """Hits as doubtful as there is room for, each wrong as often as believed."""
    kept = 0
    for seed in range(100):
        chance, ledger, wrong = random.Random(seed), Ledger(0.02), 0
        for _ in range(500):
            doubt = min(ledger.room, 0.05)
            ledger.serve(doubt)
            wrong += chance.random() < doubt
        kept += wrong <= 0.02 * 500
    assert kept >= 80


def test_outcomes_overrule_beliefs() -> None:
    trusted, doubted = Calibration(), Calibration()
    for n in range(300):
        trusted.learn(0.97, True)
        doubted.learn(0.97, n % 5 != 0)

    assert trusted.chance_wrong(0.97) < 0.02 < 0.12 < doubted.chance_wrong(0.97)


def test_what_looks_surer_is_never_trusted_less() -> None:
    learned, outcomes = Calibration(), random.Random(1)
    for _ in range(500):
        probability = outcomes.random()
        learned.learn(probability, outcomes.random() < probability)
    chances = [learned.chance_wrong(n / 200) for n in range(201)]

    assert all(sure <= unsure + 1e-12 for unsure, sure in itertools.pairwise(chances))


@pytest.mark.parametrize("target", [0.0001, 0.01, 0.5])
def test_room_is_a_probability(target: float) -> None:
    ledger = Ledger(target)
    for _ in range(200):
        assert 0.0 <= ledger.room <= 1.0
        ledger.serve(0.0)


def test_an_outcome_that_is_corrected_is_as_if_it_had_been_said_at_once() -> None:
    rooms = []
    for said in ((False,), (True, False), (True, False, True, False)):
        ledger = Ledger(0.05)
        for _ in range(400):
            ledger.serve(0.01)
        ledger.correct(0.01, is_right=said[0])
        for is_right in said[1:]:
            ledger.revise(is_right=is_right)
        rooms.append(ledger.room)
    assert rooms == pytest.approx([rooms[0]] * 3)


def test_a_sure_hit_that_would_have_been_wrong_is_charged_to_every_hit() -> None:
    clean, noisy = Ledger(0.01), Ledger(0.01)
    for ledger in (clean, noisy):
        for _ in range(50):
            ledger.serve(0.001)
    for n in range(100):
        clean.saw(0.001, is_right=True)
        noisy.saw(0.001, is_right=n % 50 != 0)

    assert noisy.room < clean.room / 4


def test_outcomes_of_doubtful_hits_say_nothing_of_noise() -> None:
    ledger = Ledger(0.01)
    before = ledger.noise
    for _ in range(10):
        ledger.saw(0.05, is_right=False)

    assert ledger.noise == before


def test_noise_that_was_seen_once_is_forgiven_after_many_that_were_right() -> None:
    ledger = Ledger(0.01)
    ledger.saw(0.001, is_right=False)
    early = ledger.noise
    for _ in range(1000):
        ledger.saw(0.001, is_right=True)

    assert ledger.noise < Ledger(0.01).noise < early


def test_many_probabilities_are_doubted_as_each_is_alone() -> None:
    learned, outcomes = Calibration(), random.Random(2)
    for _ in range(300):
        learned.learn(outcomes.random(), outcomes.random() < 0.8)
    some = [0.0, 1.0, *(outcomes.random() for _ in range(100))]

    assert learned.chances_wrong(some) == [learned.chance_wrong(one) for one in some]
