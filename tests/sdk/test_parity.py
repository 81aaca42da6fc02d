"""The sync and the async client are one client."""

import inspect
from typing import Any

import pytest

import twicetold
from twicetold import AsyncTwicetold, Twicetold

NAMES = [name for name in vars(Twicetold) if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_a_method_takes_the_same_in_both(name: str) -> None:
    def taken(client: type[Any]) -> list[tuple[str, object, object]]:
        given = inspect.signature(getattr(client, name)).parameters.values()
        return [(one.name, one.kind, one.default) for one in given if one.name != "at_once"]

    assert taken(Twicetold) == taken(AsyncTwicetold)


def test_both_have_every_method() -> None:
    assert [name for name in vars(AsyncTwicetold) if not name.startswith("_")] == NAMES


def test_everything_that_is_named_is_there() -> None:
    assert [name for name in twicetold.__all__ if not hasattr(twicetold, name)] == []
