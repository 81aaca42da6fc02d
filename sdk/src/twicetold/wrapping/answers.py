"""The official client's answers with `.cache`: they are its own types, and read as such."""

from typing import Any, Generic, TypeVar

from openai import AsyncStream, Stream
from openai.types import Completion
from openai.types.chat import ChatCompletion, ParsedChatCompletion
from openai.types.responses import ParsedResponse, Response

from twicetold.cache import CacheInfo

T = TypeVar("T")


class Told:
    """Knows where it came from."""

    @property
    def cache(self) -> CacheInfo:
        """Where the answer came from. Raises `NotTwicetoldError` when another server gave it."""
        return CacheInfo.from_headers(self.__dict__["_headers"])


class CachedChatCompletion(Told, ChatCompletion):
    """A chat completion."""


class CachedCompletion(Told, Completion):
    """A completion."""


class CachedResponse(Told, Response):
    """A response."""


class CachedParsedChatCompletion(Told, ParsedChatCompletion[T], Generic[T]):
    """A chat completion whose content was parsed."""


class CachedParsedResponse(Told, ParsedResponse[T], Generic[T]):
    """A response whose content was parsed."""


class CachedStream(Stream[T]):
    """Pieces of an answer."""

    @property
    def cache(self) -> CacheInfo:
        """Where the answer comes from, known from the start."""
        return CacheInfo.from_headers(self.response.headers)


class AsyncCachedStream(AsyncStream[T]):
    """Pieces of an answer."""

    @property
    def cache(self) -> CacheInfo:
        """Where the answer comes from, known from the start."""
        return CacheInfo.from_headers(self.response.headers)


def told(raw: Any, *, whole: type[Any], stream: type[Any], is_stream: bool) -> Any:
    """What a raw response says, as our type."""
    if is_stream:
        return raw.parse(to=stream)
    return _with_headers(raw.parse(to=whole), raw)


def told_parsed(raw: Any, kind: type[Any]) -> Any:
    """What a raw response says after the official client has parsed its content."""
    answer = raw.parse()
    object.__setattr__(answer, "__class__", kind)  # the same fields, and one property more
    return _with_headers(answer, raw)


def _with_headers(answer: Any, raw: Any) -> Any:
    answer.__dict__["_headers"] = raw.headers  # no field, like the client's own `_request_id`: no dump shows it
    return answer
