"""What is remembered of a conversation is as old as its oldest words."""

from typing import Any

import orjson
import pytest

from backends.chat import Completion, collect
from gateway.errors import UnknownResponse
from gateway.shapes.base import Parsed
from gateway.shapes.follow import Conversations
from gateway.shapes.responses.shape import ResponsesShape
from tests.gateway.house import SECRET
from tests.golden.cases import said, spelled

ANSWER: Completion = collect(said(*spelled("a")))


class Clock:
    """The time, as a test has it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def parsed(**body: Any) -> Parsed:
    return ResponsesShape().parse(orjson.dumps({"model": "m", **body}))


def turn(kept: Conversations, name: str, follows: str = "") -> None:
    """One turn, from its request to its end."""
    asked = parsed(input=f"said in {name}", **({"previous_response_id": follows} if follows else {}))
    request, said_s = kept.resume(asked, "t")
    kept.note(name, "t", asked, request, ANSWER, said_s)


def test_a_conversation_that_is_gone_on_from_again_and_again_ends_with_its_first_words() -> None:
    clock = Clock()
    kept = Conversations(SECRET, keeps_s=100.0, now=clock)
    turn(kept, "resp_1")
    clock.now_s += 60
    turn(kept, "resp_2", follows="resp_1")
    turn(kept, "resp_other")
    clock.now_s += 50

    for name in ("resp_1", "resp_2"):
        with pytest.raises(UnknownResponse):
            kept.resume(parsed(input="?", previous_response_id=name), "t")
    assert kept.forget_before(clock.now_s - 100.0) == 2
    assert kept.count("t") == 1
    turn(kept, "resp_another", follows="resp_other")


def test_what_was_under_way_when_its_first_words_came_of_age_is_not_gone_on_from() -> None:
    clock = Clock()
    kept = Conversations(SECRET, keeps_s=100.0, now=clock)
    turn(kept, "resp_1")
    clock.now_s += 90
    asked = parsed(input="slow", previous_response_id="resp_1")
    request, said_s = kept.resume(asked, "t")
    clock.now_s += 20
    kept.forget_before(clock.now_s - 100.0)
    kept.note("resp_2", "t", asked, request, ANSWER, said_s)

    with pytest.raises(UnknownResponse):
        kept.resume(parsed(input="?", previous_response_id="resp_2"), "t")
    assert kept.forget_before(clock.now_s - 100.0) == 1


def test_without_a_retention_words_of_any_age_are_gone_on_from() -> None:
    clock = Clock()
    kept = Conversations(SECRET, now=clock)
    turn(kept, "resp_1")
    clock.now_s += 1e9

    request, said_s = kept.resume(parsed(input="?", previous_response_id="resp_1"), "t")

    assert (len(request.messages), said_s) == (3, 1000.0)
