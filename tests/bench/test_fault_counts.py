"""The figures of `bench.faults` that say whether a promise holds: each can say that it does not."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from bench.faults.chaos import FLAT_MB, LOOKS, Course, check_memory
from bench.faults.crash import count_vectors
from bench.faults.watching import Look, slope


def looks(per_hour: float, count: int = 400, noise: float = 0.5) -> list[Look]:
    draws = Random(1)
    return [
        Look(at_s, 170 + per_hour * at_s / 3600 + draws.uniform(-noise, noise), 0, 30, 8, 0, 1)
        for at_s in range(0, 2 * count, 2)
    ]


@pytest.mark.parametrize(("per_hour", "is_broken"), [(0, False), (5, False), (-40, False), (30, True), (55, True)])
def test_memory_that_grows_breaks_a_promise_and_memory_that_is_flat_does_not(per_hour: float, is_broken: bool) -> None:
    assert bool(check_memory(looks(per_hour))) is is_broken


def test_what_cannot_be_told_from_noise_is_neither_broken_nor_shown() -> None:
    seen = looks(25, LOOKS, noise=40)
    growth = slope([(one.at_s, one.gateway_mb) for one in seen])

    assert not growth.is_over(FLAT_MB)
    assert not growth.is_under(FLAT_MB)
    assert check_memory(seen) == []
    assert check_memory(seen[: LOOKS - 1]) == []


def test_the_course_is_warm_when_a_third_is_asked() -> None:
    course = Course(9, Random(0))
    warm = []
    while course.next() is not None:
        warm.append(course.warm_s > 0)

    assert warm == [False] * 3 + [True] * 6


@pytest.mark.parametrize(
    ("vectors", "rows", "is_whole"),
    [
        (0, [], True),
        (2, [("a", b"v"), ("b", b"v"), ("of unknown words", b"")], True),
        (2, [("a", b"v"), ("b", b"v"), (None, None)], False),  # an answer to nothing
        (1, [("a", b"v"), ("b", b"v")], False),  # the index lacks one
        (2, [("a", b"v"), ("b", None)], False),  # it would be embedded again at every start
        (1, [("a", b"v"), ("b", None)], False),  # nobody embedded it
        (3, [("a", b"v"), ("b", b"v")], False),  # of what is gone
    ],
)
def test_the_vectors_of_the_index_are_counted_against_the_questions_of_the_store(
    tmp_path: Path, vectors: int, rows: list[tuple[str | None, bytes | None]], is_whole: bool
) -> None:
    with closing(sqlite3.connect(tmp_path / "answers.db")) as connection:
        connection.execute("CREATE TABLE entries (question TEXT, vector BLOB)")
        connection.executemany("INSERT INTO entries VALUES (?, ?)", rows)
        connection.commit()

    assert count_vectors(tmp_path / "answers.db", vectors).is_whole(len(rows)) is is_whole
