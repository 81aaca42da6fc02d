"""Goals are read from the rows of a run."""

import pytest

from bench.engine.goals import GOALS, Goal, cut, markdown, over, ratio, value, verdicts
from bench.goals import further
from bench.rows import Row

ROWS = [
    Row("speed", "decode, small", 30.0, "tok/s", 10.0, "transformers"),
    Row("speed", "decode, large", 12.0, "tok/s", 10.0, "transformers"),
    Row("speed", "decode, other", None, "tok/s", note="not available"),
    Row("ttft", "cold", 400.0, "ms", 100.0, "llama.cpp"),
    Row("ttft", "warm", 20.0, "ms", 100.0, "transformers"),
]


@pytest.mark.parametrize(
    ("goal", "reached", "is_met"),
    [
        (Goal("a ratio", "at least", 1.3, ratio("speed: decode")), 1.2, False),  # the worst row counts
        (Goal("a ratio", "at least", 1.2, ratio("speed: decode")), 1.2, True),
        (Goal("of one reference", "at most", 1, ratio("ttft", "transformers")), 0.2, True),
        (Goal("a cut", "at least", 5, cut("ttft: warm")), 5.0, True),
        (Goal("a value", "at most", 19, value("ttft: warm")), 20.0, False),
        (Goal("two rows", "at least", 14, over("ttft: cold", "ttft: warm")), 20.0, True),
        (Goal("between two rows", "at most", 379, further("ttft: cold", "ttft: warm")), 380.0, False),
    ],
)
def test_a_goal_is_held_against_its_worst_row(goal: Goal, reached: float, is_met: bool) -> None:
    (verdict,) = verdicts(ROWS, [goal])

    assert verdict.reached == pytest.approx(reached)
    assert verdict.is_met == is_met


def test_what_was_not_measured_is_no_verdict() -> None:
    goals = [
        Goal(name, "at least", 1, reader)
        for name, reader in {
            "none": value("memory"),
            "half": over("ttft: warm", "memory"),
            "off": ratio("speed: .*other"),
        }.items()
    ]

    assert verdicts(ROWS, goals) == []


def test_the_table_says_what_was_missed() -> None:
    goals = [Goal("fast", "at least", 5, cut("ttft: warm")), Goal("faster", "at least", 6, cut("ttft: warm"))]

    assert markdown(verdicts(ROWS, goals)).splitlines()[2:] == [
        "| fast | 5.000 | at least 5 times | met |",
        "| faster | 5.000 | at least 6 times | **missed** |",
    ]


def test_a_goal_beyond_the_machine_says_so() -> None:
    goal = Goal("too fast", "at least", 6, cut("ttft: warm"), takes=ratio("ttft: cold"))

    (line,) = markdown(verdicts(ROWS, [goal])).splitlines()[2:]

    assert line.endswith("| **missed**: it takes 4.000 times this processor's peak |")


def test_every_goal_has_a_name_of_its_own() -> None:
    assert len({goal.what for goal in GOALS}) == len(GOALS)
