"""Bounds and thresholds."""

import pytest

from embeddings.control.risk import clopper_pearson


@pytest.mark.parametrize(
    ("wrong", "n", "upper"),
    [(0, 299, 0.0099692), (0, 59, 0.0495082), (1, 100, 0.0465595), (5, 500, 0.0209224)],
)
def test_the_upper_bound_is_the_binomial_one(wrong: int, n: int, upper: float) -> None:
    assert clopper_pearson(wrong, n, 0.95)[1] == pytest.approx(upper, abs=2e-5)


def test_three_hundred_clean_labels_show_one_percent_and_fewer_do_not() -> None:
    assert clopper_pearson(0, 299, 0.95)[1] <= 0.01 < clopper_pearson(0, 298, 0.95)[1]


def test_nothing_known_bounds_nothing() -> None:
    assert clopper_pearson(0, 0, 0.95) == (0.0, 1.0)
