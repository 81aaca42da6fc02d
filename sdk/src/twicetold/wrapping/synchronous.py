"""`wrap` for `OpenAI`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from openai import OpenAI
from openai.resources import Completions
from openai.resources.chat import Chat
from openai.resources.chat import Completions as ChatCompletions
from openai.resources.responses import Responses
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from twicetold import calls
from twicetold.admin import Said
from twicetold.client import Twicetold
from twicetold.controls import CacheOptions
from twicetold.wrapping.answers import (
    CachedChatCompletion,
    CachedCompletion,
    CachedParsedChatCompletion,
    CachedParsedResponse,
    CachedResponse,
    CachedStream,
    told,
    told_parsed,
)
from twicetold.wrapping.arguments import arguments, wants_raw

if TYPE_CHECKING:
    from twicetold.wrapping.typing import ChatArguments, CompletionArguments, ResponseArguments

T = TypeVar("T")


class CachedChatCompletions(ChatCompletions):
    """`client.chat.completions`."""

    _client: CachedOpenAI

    @overload  # type: ignore[override]
    def create(
        self, *, stream: Literal[False] | None = ..., **given: Unpack[ChatArguments]
    ) -> CachedChatCompletion: ...
    @overload
    def create(self, *, stream: Literal[True], **given: Unpack[ChatArguments]) -> CachedStream[ChatCompletionChunk]: ...
    @overload
    def create(
        self, *, stream: bool, **given: Unpack[ChatArguments]
    ) -> CachedChatCompletion | CachedStream[ChatCompletionChunk]: ...
    def create(self, **given: Any) -> Any:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        kinds = CachedChatCompletion, CachedStream[ChatCompletionChunk]
        return _create(self._client, ChatCompletions(self._client), given, *kinds)

    def parse(  # type: ignore[override]
        self, *, response_format: type[T], **given: Any
    ) -> CachedParsedChatCompletion[T]:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        given["response_format"] = response_format
        answer: CachedParsedChatCompletion[T] = _parse(
            self._client, ChatCompletions(self._client), given, CachedParsedChatCompletion
        )
        return answer


class CachedChat(Chat):
    """`client.chat`."""

    _client: CachedOpenAI

    @cached_property
    def completions(self) -> CachedChatCompletions:
        return CachedChatCompletions(self._client)


class CachedCompletions(Completions):
    """`client.completions`."""

    _client: CachedOpenAI

    @overload  # type: ignore[override]
    def create(
        self, *, stream: Literal[False] | None = ..., **given: Unpack[CompletionArguments]
    ) -> CachedCompletion: ...
    @overload
    def create(self, *, stream: Literal[True], **given: Unpack[CompletionArguments]) -> CachedStream[Completion]: ...
    def create(self, **given: Any) -> Any:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        return _create(self._client, Completions(self._client), given, CachedCompletion, CachedStream[Completion])


class CachedResponses(Responses):
    """`client.responses`."""

    _client: CachedOpenAI

    @overload  # type: ignore[override]
    def create(self, *, stream: Literal[False] | None = ..., **given: Unpack[ResponseArguments]) -> CachedResponse: ...
    @overload
    def create(
        self, *, stream: Literal[True], **given: Unpack[ResponseArguments]
    ) -> CachedStream[ResponseStreamEvent]: ...
    def create(self, **given: Any) -> Any:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        kinds = CachedResponse, CachedStream[ResponseStreamEvent]
        return _create(self._client, Responses(self._client), given, *kinds)

    def parse(  # type: ignore[override]
        self, *, text_format: type[T], **given: Unpack[ResponseArguments]
    ) -> CachedParsedResponse[T]:
        """As the official client's, with cache arguments; what comes back has `.cache`."""
        wanted: dict[str, Any] = {**given, "text_format": text_format}
        answer: CachedParsedResponse[T] = _parse(self._client, Responses(self._client), wanted, CachedParsedResponse)
        return answer


class CachedOpenAI(OpenAI):
    """The official client with the gateway's words. `wrap` makes it."""

    cache_options: CacheOptions
    admin_key: str | None

    @cached_property
    def chat(self) -> CachedChat:
        return CachedChat(self)

    @cached_property
    def completions(self) -> CachedCompletions:
        return CachedCompletions(self)

    @cached_property
    def responses(self) -> CachedResponses:
        return CachedResponses(self)

    def feedback(
        self,
        answer: Any = None,
        verdict: calls.Verdict | bool = "good",
        *,
        comment: str = "",
        entry: str | None = None,
    ) -> Said:
        """Say what an answer was worth: a response or its id, or a stored `entry`."""
        call = calls.feedback(answer, verdict, comment, entry)
        return Said.read(self.post("/cache/feedback", body=calls.body_of(call), cast_to=dict[str, Any]))

    @cached_property
    def twicetold(self) -> Twicetold:
        """The gateway's own client, with the key of this one: lookups, puts, entries, statistics."""
        return Twicetold(str(self.base_url), api_key=self.api_key, admin_key=self.admin_key, cache=self.cache_options)

    def close(self) -> None:
        if "twicetold" in self.__dict__:
            self.twicetold.close()
        super().close()

    def copy(self, **changes: Any) -> CachedOpenAI:
        """As the official client's; it stays one of ours."""
        ours = super().copy(**changes)
        ours.cache_options, ours.admin_key = self.cache_options, self.admin_key
        return ours

    with_options = copy


def _create(client: CachedOpenAI, plain: Any, given: dict[str, Any], whole: type[Any], stream: type[Any]) -> Any:
    said = arguments(client.cache_options, given)
    if wants_raw(said):
        return plain.create(**said)
    raw = plain.with_raw_response.create(**said)
    return told(raw, whole=whole, stream=stream, is_stream=said.get("stream") is True)


def _parse(client: CachedOpenAI, plain: Any, given: dict[str, Any], kind: type[Any]) -> Any:
    said = arguments(client.cache_options, given)
    if wants_raw(said):
        return plain.parse(**said)
    return told_parsed(plain.with_raw_response.parse(**said), kind)
