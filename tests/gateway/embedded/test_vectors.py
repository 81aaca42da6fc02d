"""Vectors and the keys of items: nothing is lost in keeping, and nothing that differs is one."""

from base64 import b64encode
from struct import pack
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.embedded.request import item_key, parse_embeddings
from gateway.embedded.vector import read_vector

SECRET = b"s" * 32


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_a_list_comes_out_as_it_came_in(numbers: list[float]) -> None:
    vector = read_vector(numbers)

    assert vector is not None
    assert vector.floats() == numbers


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_base64_comes_out_as_it_came_in_and_is_the_same_as_a_list(numbers: list[float]) -> None:
    said = b64encode(pack(f"<{len(numbers)}f", *numbers)).decode()
    in_text, in_list = read_vector(said), read_vector(numbers)

    assert in_text is not None
    assert in_list is not None
    assert in_text.base64() == said == in_list.base64()
    assert in_text.floats() == numbers
    assert in_list.code == "f", "32 bits are enough"


def test_base64_of_something_else_than_floats_stays_as_it_is() -> None:
    vector = read_vector("AQI=", is_floats=False)

    assert vector is not None
    assert vector.floats() == vector.base64() == "AQI="


@pytest.mark.parametrize("said", [None, [], {}, "no base64!", [1, "2"], [True], [float("nan")], [[1.0]], 7])
def test_what_is_no_vector_is_none(said: object) -> None:
    assert read_vector(said) is None


def test_items_are_one_only_if_they_are_letter_for_letter() -> None:
    items: list[Any] = ["a", "a ", "A", "é", "e\u0301", [1, 2], [12], "[1,2]", "ids\0[1,2]"]
    keys = {
        item_key(SECRET, scope, kind, item)
        for item in items
        for scope in (b"1" * 32, b"2" * 32)
        for kind in (b"{}", b"")
    }

    assert len(keys) == len(items) * 4


def test_how_a_vector_is_spelled_makes_no_other_key_unless_it_may_not_be_floats() -> None:
    def kind(**more: object) -> bytes:
        return parse_embeddings(orjson.dumps({"model": "m", "input": "a", **more})).kind

    assert kind() == kind(encoding_format="base64") == kind(user="u", dimensions=None)
    assert (
        len(
            {kind(), kind(dimensions=3), kind(output_dtype="int8"), kind(output_dtype="int8", encoding_format="base64")}
        )
        == 4
    )
