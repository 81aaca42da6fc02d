"""What nobody could tell on is refused where it comes in."""

import orjson
import pytest

from backends.depth import MAX_DEPTH, is_deep
from backends.errors import BackendGarbage
from backends.openai_wire import error_from_reply, parse_json


def nested(depth: int, inner: bytes = b"1") -> bytes:
    return b'{"a":' * depth + inner + b"}" * depth


@pytest.mark.parametrize(("depth", "is_refused"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True), (1000, True)])
def test_json_is_read_to_a_depth(depth: int, is_refused: bool) -> None:
    raw = nested(depth)

    assert is_deep(raw, orjson.loads(raw)) == is_refused


def test_many_brackets_side_by_side_are_not_deep() -> None:
    raw = orjson.dumps({"data": [{"embedding": [0.5, 1]} for _ in range(1000)], "texts": ["[{" * 500]})

    assert not is_deep(raw, orjson.loads(raw))


def test_a_deep_answer_is_garbage_and_a_deep_error_says_no_more_than_its_status() -> None:
    with pytest.raises(BackendGarbage):
        parse_json(nested(300), "upstream")

    error = error_from_reply(400, {}, b'{"error":' + nested(300) + b"}", "upstream")
    assert error.message == "upstream refused the request (status 400)"
