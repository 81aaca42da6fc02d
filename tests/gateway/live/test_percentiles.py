"""Percentiles from a histogram of fixed size."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.live.percentiles import BUCKETS, Histogram

SECONDS = st.lists(st.floats(2e-5, 3000.0), min_size=1, max_size=60)


def histogram_of(seconds: list[float]) -> Histogram:
    made = Histogram()
    for one in seconds:
        made.add(one)
    return made


@given(SECONDS, st.sampled_from([50, 90, 99]))
@settings(max_examples=60, deadline=None)
def test_a_percentile_is_off_by_five_percent_at_most(seconds: list[float], percent: int) -> None:
    told = histogram_of(seconds).percentiles([percent])[f"p{percent}"]
    exact = sorted(seconds)[-(-len(seconds) * percent // 100) - 1]

    assert told is not None
    assert abs(told / exact - 1) <= 0.05


def test_two_histograms_add_up_to_one() -> None:
    one, other = histogram_of([0.1, 0.2]), histogram_of([0.4])
    one.merge(other)

    assert one.counts == histogram_of([0.1, 0.2, 0.4]).counts


def test_what_is_beyond_the_ends_is_counted_at_them() -> None:
    counts = histogram_of([0.0, -1.0, 1e9]).counts

    assert (counts[0], counts[-1], len(counts)) == (2, 1, BUCKETS)


def test_without_a_request_there_is_no_percentile() -> None:
    assert Histogram().percentiles() == {"p50": None, "p90": None, "p99": None}
