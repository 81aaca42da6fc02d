"""Whoever is told to begin first is there."""

from tests.conftest import LONGEST, TESTS


def test_every_file_that_begins_early_is_there_and_named_once() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
