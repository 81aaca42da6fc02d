"""When a fresh answer says what a stored one says."""

import pytest

from backends.chat import Choice, Completion
from embeddings.base import Vector
from embeddings.hashing import HashingEmbedder
from gateway.semantic.comparing import judged, same_answer

EMBEDDER = HashingEmbedder(256)


async def embed(text: str) -> Vector | None:
    return None if len(text) > 400 else EMBEDDER.embed([text])[0]


def said(content: str | None, **fields: object) -> Completion:
    return Completion((Choice({"role": "assistant", "content": content, **fields}, "stop"),))


def call(arguments: str, id: str) -> Completion:
    function = {"name": "weather", "arguments": arguments}
    return said(None, tool_calls=[{"id": id, "type": "function", "function": function}])


@pytest.mark.parametrize(
    ("fresh", "stored", "is_same"),
    [
        (said("Paris is the capital."), said("paris is the capital"), True),
        (said("**Paris** is the capital."), said("Paris is  the capital!"), True),
        (said("The total is 18 apples."), said("The total is 23 apples."), False),
        (said("You can cancel it online."), said("You can not cancel it online."), False),
        (said("Paris is the capital of France."), said("Bake it for an hour, then let it cool."), False),
        (said("x = -1"), said("x = 1"), False),
        (call('{"a": 1}', "one"), call('{"a": 1}', "two"), True),
        (call('{"a": 1}', "one"), call('{"a": 2}', "two"), None),
        (call('{"a": 1}', "one"), said("It is 1."), None),
        (said("long " * 200), said("long " * 201), None),
        (said("long " * 200), said("long " * 200), True),
        (said(""), said(None), None),
    ],
)
async def test_answers_are_the_same_other_ones_or_nobody_knows(
    fresh: Completion, stored: Completion, is_same: bool | None
) -> None:
    assert await same_answer(fresh, stored, embed) is is_same
    assert await same_answer(stored, fresh, embed) is is_same


@pytest.mark.parametrize(
    ("cosine", "refusal", "is_same"),
    [(0.97, None, True), (0.97, "names", None), (0.9, None, None), (0.5, None, False), (0.5, "names", False)],
)
def test_vectors_and_guards_must_agree(cosine: float, refusal: str | None, is_same: bool | None) -> None:
    assert judged(cosine, refusal) is is_same
