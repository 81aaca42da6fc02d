"""Drafts are checked when that pays on the machine as it is."""

import pytest

from backends.local.engine.pace import LADDER, PLAIN, Pace

SURE = [0.9**n for n in range(1, 32)]
UNSURE = [0.2**n for n in range(1, 4)]


def pace(row_cost: float, sequences: int = 1, rungs: tuple[int, ...] = LADDER) -> Pace:
    """A machine where a draft costs `row_cost` of a forward without, measured a few times."""
    found = Pace()
    for _ in range(5):
        for drafts in rungs:
            found.note(sequences, drafts, 0.010 * (1 + row_cost * drafts))
    return found


def test_nothing_is_drafted_before_a_forward_without_drafts_was_measured() -> None:
    fresh = Pace()
    assert fresh.allot([SURE]) == [0]

    fresh.note(1, 0, 0.5)  # the first one of a size is slower, and tells nothing
    assert fresh.allot([SURE]) == [0]

    fresh.note(1, 0, 0.01)
    assert fresh.allot([SURE])[0] > 5


@pytest.mark.parametrize(
    ("row_cost", "chances", "least", "most"),
    [
        (0.0, SURE, 31, 31),
        (0.02, SURE, 11, 31),
        (0.2, SURE, 3, 7),
        (0.5, SURE, 1, 3),
        (1.0, SURE, 0, 0),
        (0.0, UNSURE, 3, 3),
        (0.03, UNSURE, 1, 2),
        (0.1, UNSURE, 1, 1),
        (0.2, UNSURE, 0, 0),
        (0.3, UNSURE, 0, 0),
        (0.02, [], 0, 0),
    ],
)
def test_more_is_drafted_where_rows_are_cheap_and_guesses_good(
    row_cost: float, chances: list[float], least: int, most: int
) -> None:
    assert least <= pace(row_cost).allot([chances])[0] <= most


def test_the_likelier_drafts_of_a_batch_go_first() -> None:
    taken = pace(0.05, sequences=3).allot([UNSURE, SURE, []])

    assert taken[1] > 4 > taken[0]
    assert taken[2] == 0


def test_a_batch_that_fills_the_machine_drafts_nothing() -> None:
    assert pace(0.2, sequences=8).allot([UNSURE] * 8) == [0] * 8
    assert pace(0.01, sequences=8).allot([SURE] * 8) != [0] * 8


def test_a_jump_in_cost_is_stayed_below() -> None:
    found = pace(0.0, rungs=(0, 1, 3, 7))
    for _ in range(4):
        found.note(1, 11, 0.030)

    assert found.allot([SURE]) == [7]


def test_a_size_that_was_lucky_when_it_was_measured_does_not_win_for_that() -> None:
    found = pace(0.3, rungs=(0, 3))
    for _ in range(4):
        found.note(1, 1, 0.009)  # less than a forward without

    assert found.allot([UNSURE]) == [1]
    for _ in range(9):
        found.note(1, 1, 0.0135)
    assert found.allot([UNSURE]) == [0]
    assert found.allot([[0.04]]) == [0]


def test_what_did_not_pay_is_tried_again_later() -> None:
    found = pace(1.2, rungs=(0, 3, 7))
    waits = 0
    while found.allot([SURE]) == [0] and waits < 2000:
        found.note(1, 0, 0.010)
        waits += 1

    assert 20 < waits < 1000


def test_now_and_then_a_forward_without_drafts_is_measured() -> None:
    found = pace(0.02)
    plain = 0
    for _ in range(10 * PLAIN):
        (drafts,) = found.allot([SURE])
        plain += drafts == 0
        found.note(1, drafts, 0.010 + 0.0002 * drafts)

    assert 8 <= plain <= 12
