"""Percentiles, shares and their intervals; one unit of memory."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Share, clopper_pearson, median, percentile, spread
from bench.processes import ROOT


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),  # nearest rank never lies between two observations
        ([float(i) for i in range(1, 101)], 99, 99.0),
        ([float(i) for i in range(1, 101)], 90, 90.0),
        ([1.0, 2.0], 99, 2.0),
        ([7.0], 1, 7.0),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(1, 100))
def test_at_least_that_share_is_not_above_a_percentile(values: list[float], percent: int) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_a_percentile_outside_the_sample_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile([1.0], percent)


def test_nothing_has_no_spread() -> None:
    assert spread([]) is None


def test_a_spread_tells_count_mean_and_percentiles() -> None:
    found = spread([4.0, 1.0, 2.0, 5.0])

    assert found is not None
    assert (found.count, found.mean, found.p50, found.p90, found.p99) == (4, 3.0, 2.0, 5.0, 5.0)
    assert median([4.0, 1.0, 2.0]) == 2.0


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.3085),  # the values of R's binom.test
        (10, 10, 0.6915, 1.0),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (3, 1000, 0.0006, 0.0087),
    ],
)
def test_the_interval_is_that_of_clopper_and_pearson(hits: int, of: int, low: float, high: float) -> None:
    assert clopper_pearson(hits, of) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 400), st.integers(1, 400))
def test_the_interval_holds_the_observed_rate(hits: int, of: int) -> None:
    share = Share(min(hits, of), of)
    low, high = share.interval

    assert share.rate is not None
    assert 0 <= low <= share.rate <= high <= 1


def test_a_share_of_nothing_has_no_rate() -> None:
    assert Share(0, 0).rate is None
    assert str(Share(0, 0)) == "none"


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2"):
        clopper_pearson(3, 2)


def test_memory_is_counted_in_thousands_and_millions_of_bytes_everywhere() -> None:
    files = [*(ROOT / "bench").rglob("*.py")]

    assert len(files) > 100
    assert [file.name for file in files if re.search(r'"[KM]iB"', file.read_text("utf-8"))] == []
