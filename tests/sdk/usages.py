"""What a type checker makes of the SDK. Read by mypy in test_typing.py, never run: `assert_type` must hold, and every
line that is wrong must be refused, or its `type: ignore` is one too many."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, assert_type

from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessage
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel

from twicetold import (
    AsyncChatStream,
    AsyncTwicetold,
    CacheInfo,
    ChatAnswer,
    ChatStream,
    Embeddings,
    Entry,
    Invalidation,
    Kept,
    Lookup,
    ResponseAnswer,
    Said,
    Stats,
    Stream,
    Tier,
    Twicetold,
    wrap,
)
from twicetold.wrapping.answers import (
    AsyncCachedStream,
    CachedChatCompletion,
    CachedParsedChatCompletion,
    CachedResponse,
    CachedStream,
)


class City(BaseModel):
    name: str


def ours(client: Twicetold, is_stream: bool) -> None:
    answer = client.chat("Why?", model="demo", ttl=60, tags=["faq"], tiers=["exact"], temperature=0.2)
    assert_type(answer, ChatAnswer)
    assert_type(answer.cache, CacheInfo)
    assert_type(answer.cache.tier, Tier)
    assert_type(answer.text, str)
    assert_type(client.chat("Why?", stream=True), ChatStream)
    assert_type(client.chat("Why?", stream=is_stream), ChatAnswer | ChatStream)
    assert_type([chunk.text for chunk in client.chat("Why?", stream=True)], list[str])
    assert_type(client.respond("Why?"), ResponseAnswer)
    assert_type(client.respond("Why?", stream=True), Stream[Mapping[str, Any]])
    assert_type(client.embeddings(["a"], dimensions=8), Embeddings)
    found = client.lookup("Why?", max_age=60)
    assert_type(found, Lookup)
    assert_type(client.put("Why?", "Because.", lookup=found, elapsed_s=1.5), Kept)
    assert_type(client.cached("Why?", lambda: "Because."), str)
    assert_type(client.cached("Why?", lambda: 7), str | int)
    assert_type(client.feedback(answer, "bad", comment="wrong year"), Said)
    assert_type(client.stats(), Stats)
    assert_type(client.entries(tag="faq"), Iterator[Entry])
    assert_type(client.invalidate(tag="faq", dry_run=True), Invalidation)


async def theirs_in_turn(client: AsyncTwicetold) -> None:
    assert_type(await client.chat("Why?", no_cache=True), ChatAnswer)
    assert_type(await client.chat("Why?", stream=True), AsyncChatStream)
    assert_type(client.entries(tag="faq"), AsyncIterator[Entry])
    assert_type(await client.cached("Why?", because), str)


async def because() -> str:
    return "Because."


def wrapped(client: OpenAI) -> None:
    told = wrap(client, cache={"namespace": "app"})
    answer = told.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], ttl=60, seed=7)
    assert_type(answer, CachedChatCompletion)
    assert_type(answer.cache, CacheInfo)
    assert_type(answer.choices[0].message, ChatCompletionMessage)
    stream = told.chat.completions.create(model="m", messages=[], stream=True)
    assert_type(stream, CachedStream[ChatCompletionChunk])
    assert_type(told.responses.create(model="m", input="?", tags=["a"]), CachedResponse)
    assert_type(told.responses.create(model="m", input="?", stream=True), CachedStream[ResponseStreamEvent])
    parsed = told.chat.completions.parse(model="m", messages=[], response_format=City)
    assert_type(parsed, CachedParsedChatCompletion[City])
    assert_type(parsed.choices[0].message.parsed, City | None)
    assert_type(told.with_options(timeout=3).feedback(answer), Said)


async def wrapped_in_turn(client: AsyncOpenAI) -> None:
    told = wrap(client)
    answer = await told.chat.completions.create(model="m", messages=[], min_similarity=0.9)
    assert_type(answer, CachedChatCompletion)
    stream = await told.chat.completions.create(model="m", messages=[], stream=True)
    assert_type(stream, AsyncCachedStream[ChatCompletionChunk])


def wrong(client: Twicetold, theirs: OpenAI) -> None:
    client.chat("Why?", tt=60)  # type: ignore[call-overload]
    client.chat("Why?", ttl="1h")  # type: ignore[call-overload]
    client.chat("Why?", tiers=["warm"])  # type: ignore[list-item]
    client.chat(7)  # type: ignore[call-overload]
    client.feedback("id", "meh")  # type: ignore[arg-type]
    client.invalidate(tags="faq")  # type: ignore[call-arg]
    wrap(theirs).chat.completions.create(model="m", messages=[], tags="faq", ttl="x")  # type: ignore[call-overload]
    wrap(theirs).chat.completions.create(model="m", messages=[], tll=60)  # type: ignore[call-overload]
    wrap("client")  # type: ignore[call-overload]
