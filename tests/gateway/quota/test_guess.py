"""What is held for a request while it runs."""

from typing import Any

import pytest

from backends.chat import ChatRequest
from gateway.quota.guess import guess_of


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({}, 256),
        ({"max_tokens": 10}, 10),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_completion_tokens": 10**12}, 32_768),
        ({"max_tokens": 10**12, "n": 2}, 65_536),
    ],
)
def test_a_giant_most_holds_no_more_than_an_answer_has(params: dict[str, Any], tokens: int) -> None:
    asked = ChatRequest("m", ({"role": "user", "content": "Hi"},), params)
    assert guess_of(asked).completion_tokens == tokens
