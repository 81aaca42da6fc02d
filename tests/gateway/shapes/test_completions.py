"""Raw prompts: one or several, as text or tokens, whole or streamed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from backends.chat import ChatRequest, Delta
from backends.fake import say
from gateway.curation.archive import Archive
from tests.golden.cases import CASES
from tests.golden.desk import Desk, desk

Json = Any


def continued(request: ChatRequest) -> list[Delta]:
    return say(f" and on after {request.prompt}")


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as opened:
        opened.backend.script = continued
        yield opened


@pytest.fixture
def client(counter: Desk) -> AsyncOpenAI:
    through: Any = counter.client
    return AsyncOpenAI(base_url="http://desk/v1", api_key="t", max_retries=0, http_client=through)


async def test_each_of_several_prompts_is_kept_by_itself(counter: Desk, client: AsyncOpenAI) -> None:
    await client.completions.create(model="scripted", prompt="two")
    several = await client.completions.with_raw_response.create(model="scripted", prompt=["one", "two", "three"])
    again = await client.completions.with_raw_response.create(model="scripted", prompt=["three", "one"])

    texts = [(choice.index, choice.text) for choice in several.parse().choices]
    assert texts == [(0, " and on after one"), (1, " and on after two"), (2, " and on after three")]
    assert [choice.text for choice in again.parse().choices] == [" and on after three", " and on after one"]
    assert (several.headers["x-twicetold-tier"], again.headers["x-twicetold-tier"]) == ("full", "exact")
    assert again.headers["x-twicetold-saved-tokens"] == "20"
    assert counter.backend.calls == 3


async def test_several_prompts_stream_their_choices(client: AsyncOpenAI) -> None:
    usage: Json = {"include_usage": True}
    stream = await client.completions.create(model="scripted", prompt=["one", "two"], stream=True, stream_options=usage)
    chunks = [chunk async for chunk in stream]

    texts = ["".join(c.choices[0].text for c in chunks if c.choices and c.choices[0].index == i) for i in (0, 1)]
    assert texts == [" and on after one", " and on after two"]
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (10, 10)


async def test_a_prompt_is_no_chat_and_tokens_are_no_text(counter: Desk, client: AsyncOpenAI) -> None:
    await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Where?"}])
    await client.completions.create(model="scripted", prompt="Where?")
    await client.completions.create(model="scripted", prompt=[1, 2])

    assert [request.prompt for request in counter.backend.requests] == [None, "Where?", [1, 2]]


async def test_an_operator_sees_what_a_prompt_was(counter: Desk, client: AsyncOpenAI) -> None:
    lines: list[Json] = []
    counter.home.ledger.listen(lines.append)
    await client.completions.create(model="scripted", prompt="Once upon a time")
    await counter.home.pipeline.close()
    unused: Any = None
    (kept,) = (await Archive(counter.home.answers, unused, unused, None).page({}))["data"]

    assert [line.question for line in lines] == ["Once upon a time"]
    assert (kept["preview"], kept["question"]) == ("Once upon a time", None)


async def test_a_prompt_is_answered_by_no_other_words(counter: Desk) -> None:
    counter.backend.script = CASES["text"].says
    await counter.ask("completions", {"model": "scripted", "prompt": "What is a block table?"})
    other = await counter.ask("completions", {"model": "scripted", "prompt": "What is a block table"})

    assert other.headers["x-twicetold-tier"] == "full"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["x", 5]}, "prompt[1]"),
        ({"prompt": [[1, -1]]}, "prompt[0]"),
        ({"prompt": "x", "logprobs": True}, "logprobs"),
        ({"prompt": "x", "messages": []}, "messages"),
        ({"prompt": ["x"] * 65}, "prompt"),
        ({"prompt": "x", "temperature": "hot"}, "temperature"),
    ],
)
async def test_a_field_that_is_wrong_is_named(counter: Desk, body: Json, param: str) -> None:
    answer = await counter.ask("completions", {"model": "scripted", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
