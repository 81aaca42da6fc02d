"""Requests over time."""

from gateway.live.series import LEVELS, MOST_MODELS, Series
from gateway.live.tokens import Tokens
from tests.gateway.live.lines import failure, line


def no_money(_: str, __: Tokens) -> float:
    return 0.0


def requests_of(series: Series, minutes: int, now_s: float) -> list[int]:
    return [point["full"] for point in series.told(minutes, now_s, no_money)["points"]]


def test_points_have_one_step_and_quiet_times_are_among_them() -> None:
    series = Series(1000.0)
    for at_s in (1001.0, 1002.0, 1013.0):
        series.add(line(), "full", at_s)
    told = series.told(1, 1022.0, no_money)

    assert told["step_s"] == 5
    assert [(point["t"], point["full"]) for point in told["points"]] == [
        (1000, 2), (1005, 0), (1010, 1), (1015, 0), (1020, 0),
    ]  # fmt: skip


def test_longer_times_have_wider_steps_and_lose_no_request() -> None:
    series, now_s = Series(0.0), 0.0
    for minute in range(26 * 60):
        now_s = minute * 60.0 + 30.0
        series.add(line(), "full", now_s)

    assert sum(requests_of(series, 60, now_s)) == 60
    assert sum(requests_of(series, 24 * 60, now_s)) == 24 * 60
    assert sum(requests_of(series, 7 * 24 * 60, now_s)) == 26 * 60
    assert all(len(requests_of(series, minutes, now_s)) <= 240 for minutes in (1, 60, 1440, 10_080))


def test_memory_is_bounded_in_time_and_in_models() -> None:
    series = Series(0.0)
    for number in range(3000):
        series.add(line(model=f"m{number}"), "full", number * 5.0)
    bucket = series._now
    for number in range(100):
        bucket.tokens(f"other{number}").prompt += 1

    assert [len(buckets) for _, buckets in series._levels] == [LEVELS[0][1], 250, 25]
    assert len(bucket.models) == MOST_MODELS + 1  # and "other"


def test_errors_are_counted_apart() -> None:
    series = Series(1000.0)
    series.add(failure(), None, 1001.0)
    point = series.told(1, 1001.0, no_money)["points"][-1]

    assert (point["errors"], point["full"]) == (1, 0)


def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    series = Series(1000.0)
    for at_s in (1001.0, 900.0, 1002.0):
        series.add(line(), "full", at_s)

    assert sum(requests_of(series, 1, 1003.0)) == 2
