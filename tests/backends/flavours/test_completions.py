"""Text completions of a server that has them: what is written to it, and what is read from it."""

from typing import Any

import orjson
import pytest

from backends.chat import PROMPT, ChatRequest, Completion, collect
from backends.errors import BackendGarbage, RequestRejected
from backends.flavours import FLAVOURS
from backends.flavours.base import Api, Wishes
from backends.upstream import UpstreamBackend

LOGPROBS: dict[str, Any] = {
    "tokens": ["a", "b"],
    "token_logprobs": [-1.0, -2.0],
    "top_logprobs": None,
    "text_offset": [0, 1],
}
CHOICE = {"index": 0, "text": "ab", "logprobs": LOGPROBS, "finish_reason": "length"}


def api(flavour: str = "openai") -> Api:
    found = FLAVOURS[flavour].completions
    assert found is not None
    return found


def prompt(content: Any, **params: Any) -> ChatRequest:
    return ChatRequest("m", ({"role": PROMPT, "content": content},), params)


def whole(*choices: Any) -> bytes:
    usage = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    return orjson.dumps({"id": "cmpl-1", "object": "text_completion", "choices": choices, "usage": usage})


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (prompt("A cache"), {"prompt": "A cache"}),
        (prompt([{"type": "tokens", "tokens": [1, 2]}], echo=True), {"prompt": [1, 2], "echo": True}),
        (prompt("A", logprobs=True, top_logprobs=3), {"prompt": "A", "logprobs": 3}),
        (prompt("A", logprobs=True, top_logprobs=0, n=2), {"prompt": "A", "logprobs": 0, "n": 2}),
    ],
)
def test_a_prompt_goes_out_as_it_stands(request_: ChatRequest, wanted: dict[str, Any]) -> None:
    assert orjson.loads(api().write(request_, Wishes())) == {"model": "m", "stream": False, **wanted}


def test_an_engine_is_told_the_salt_with_a_prompt_too() -> None:
    assert "cache_salt" in orjson.loads(api("vllm").write(prompt("A"), Wishes()))


def test_what_is_read_whole_is_what_is_read_streamed() -> None:
    halves = [
        {**CHOICE, "text": text, "logprobs": {name: part and part[i : i + 1] for name, part in LOGPROBS.items()}}
        for i, text in enumerate("ab")
    ]
    reader = api().reader("there", prompt("A"))
    pieces = [{**half, "finish_reason": end} for half, end in zip(halves, (None, "length"), strict=True)]
    deltas = [delta for piece in pieces for delta in reader.read(whole(piece))]
    reader.check_whole()

    streamed: Completion = collect(deltas)
    assert streamed.choices[0].message["content"] == "ab"
    assert [choice.logprobs for choice in streamed.choices] == [LOGPROBS]
    read = api().read_whole(whole(CHOICE), "there")
    assert (read.choices[0].finish_reason, read.choices[0].logprobs) == ("length", LOGPROBS)
    assert read.usage == streamed.usage


@pytest.mark.parametrize("choice", [5, {"text": 5}, {"index": 0, "text": ["a"]}])
def test_what_is_no_completion_is_garbage(choice: Any) -> None:
    with pytest.raises(BackendGarbage):
        api().read_whole(whole(choice), "there")
    with pytest.raises(BackendGarbage):
        list(api().reader("there", prompt("A")).read(whole(choice)))


async def test_a_server_that_answers_chats_alone_says_so() -> None:
    backend = UpstreamBackend("claude", "http://127.0.0.1:1", flavour=FLAVOURS["anthropic"])
    with pytest.raises(RequestRejected) as refused:
        await anext(backend.stream(prompt("A")))
    await backend.close()
    assert refused.value.param == "prompt"
