"""`wrap` for `AsyncOpenAI`: as `synchronous`, with awaits."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from openai import AsyncOpenAI
from openai.resources import AsyncCompletions
from openai.resources.chat import AsyncChat
from openai.resources.chat import AsyncCompletions as AsyncChatCompletions
from openai.resources.responses import AsyncResponses
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from twicetold import calls
from twicetold.admin import Said
from twicetold.async_client import AsyncTwicetold
from twicetold.controls import CacheOptions
from twicetold.wrapping.answers import (
    AsyncCachedStream,
    CachedChatCompletion,
    CachedCompletion,
    CachedParsedChatCompletion,
    CachedParsedResponse,
    CachedResponse,
    told,
    told_parsed,
)
from twicetold.wrapping.arguments import arguments, wants_raw

if TYPE_CHECKING:
    from twicetold.wrapping.typing import ChatArguments, CompletionArguments, ResponseArguments

T = TypeVar("T")


class AsyncCachedChatCompletions(AsyncChatCompletions):
    """`client.chat.completions`."""

    _client: AsyncCachedOpenAI

    @overload  # type: ignore[override]
    async def create(
        self, *, stream: Literal[False] | None = ..., **given: Unpack[ChatArguments]
    ) -> CachedChatCompletion: ...
    @overload
    async def create(
        self, *, stream: Literal[True], **given: Unpack[ChatArguments]
    ) -> AsyncCachedStream[ChatCompletionChunk]: ...
    @overload
    async def create(
        self, *, stream: bool, **given: Unpack[ChatArguments]
    ) -> CachedChatCompletion | AsyncCachedStream[ChatCompletionChunk]: ...
    async def create(self, **given: Any) -> Any:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        kinds = CachedChatCompletion, AsyncCachedStream[ChatCompletionChunk]
        return await _create(self._client, AsyncChatCompletions(self._client), given, *kinds)

    async def parse(  # type: ignore[override]
        self, *, response_format: type[T], **given: Any
    ) -> CachedParsedChatCompletion[T]:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        given["response_format"] = response_format
        answer: CachedParsedChatCompletion[T] = await _parse(
            self._client, AsyncChatCompletions(self._client), given, CachedParsedChatCompletion
        )
        return answer


class AsyncCachedChat(AsyncChat):
    """`client.chat`."""

    _client: AsyncCachedOpenAI

    @cached_property
    def completions(self) -> AsyncCachedChatCompletions:
        return AsyncCachedChatCompletions(self._client)


class AsyncCachedCompletions(AsyncCompletions):
    """`client.completions`."""

    _client: AsyncCachedOpenAI

    @overload  # type: ignore[override]
    async def create(
        self, *, stream: Literal[False] | None = ..., **given: Unpack[CompletionArguments]
    ) -> CachedCompletion: ...
    @overload
    async def create(
        self, *, stream: Literal[True], **given: Unpack[CompletionArguments]
    ) -> AsyncCachedStream[Completion]: ...
    async def create(self, **given: Any) -> Any:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        return await _create(
            self._client, AsyncCompletions(self._client), given, CachedCompletion, AsyncCachedStream[Completion]
        )


class AsyncCachedResponses(AsyncResponses):
    """`client.responses`."""

    _client: AsyncCachedOpenAI

    @overload  # type: ignore[override]
    async def create(
        self, *, stream: Literal[False] | None = ..., **given: Unpack[ResponseArguments]
    ) -> CachedResponse: ...
    @overload
    async def create(
        self, *, stream: Literal[True], **given: Unpack[ResponseArguments]
    ) -> AsyncCachedStream[ResponseStreamEvent]: ...
    async def create(self, **given: Any) -> Any:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        kinds = CachedResponse, AsyncCachedStream[ResponseStreamEvent]
        return await _create(self._client, AsyncResponses(self._client), given, *kinds)

    async def parse(  # type: ignore[override]
        self, *, text_format: type[T], **given: Unpack[ResponseArguments]
    ) -> CachedParsedResponse[T]:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        wanted: dict[str, Any] = {**given, "text_format": text_format}
        answer: CachedParsedResponse[T] = await _parse(
            self._client, AsyncResponses(self._client), wanted, CachedParsedResponse
        )
        return answer


class AsyncCachedOpenAI(AsyncOpenAI):
    """The official client with the gateway's words. `wrap` makes it."""

    cache_options: CacheOptions
    admin_key: str | None

    @cached_property
    def chat(self) -> AsyncCachedChat:
        return AsyncCachedChat(self)

    @cached_property
    def completions(self) -> AsyncCachedCompletions:
        return AsyncCachedCompletions(self)

    @cached_property
    def responses(self) -> AsyncCachedResponses:
        return AsyncCachedResponses(self)

    async def feedback(
        self,
        answer: Any = None,
        verdict: calls.Verdict | bool = "good",
        *,
        comment: str = "",
        entry: str | None = None,
    ) -> Said:
        """Say what an answer was worth: a response or its id, or a stored `entry`."""
        call = calls.feedback(answer, verdict, comment, entry)
        return Said.read(await self.post("/cache/feedback", body=calls.body_of(call), cast_to=dict[str, Any]))

    @cached_property
    def twicetold(self) -> AsyncTwicetold:
        """The gateway's own client, with the key of this one: lookups, puts, entries, statistics."""
        return AsyncTwicetold(
            str(self.base_url), api_key=self.api_key, admin_key=self.admin_key, cache=self.cache_options
        )

    async def close(self) -> None:
        if "twicetold" in self.__dict__:
            await self.twicetold.close()
        await super().close()

    def copy(self, **changes: Any) -> AsyncCachedOpenAI:
        """As the official client's; it stays one of ours."""
        ours = super().copy(**changes)
        ours.cache_options, ours.admin_key = self.cache_options, self.admin_key
        return ours

    with_options = copy


async def _create(
    client: AsyncCachedOpenAI, plain: Any, given: dict[str, Any], whole: type[Any], stream: type[Any]
) -> Any:
    said = arguments(client.cache_options, given)
    if wants_raw(said):
        return await plain.create(**said)
    raw = await plain.with_raw_response.create(**said)
    return told(raw, whole=whole, stream=stream, is_stream=said.get("stream") is True)


async def _parse(client: AsyncCachedOpenAI, plain: Any, given: dict[str, Any], kind: type[Any]) -> Any:
    said = arguments(client.cache_options, given)
    if wants_raw(said):
        return await plain.parse(**said)
    return told_parsed(await plain.with_raw_response.parse(**said), kind)
