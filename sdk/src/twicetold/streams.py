"""Answers that come piece by piece: iterate them, close them, and ask them where they came from.

with client.chat("Why?", stream=True) as stream:
    for chunk in stream:
        print(chunk.text, end="")
    print(stream.cache.tier, stream.answer().usage)
"""

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

import httpx

from twicetold.answers import ChatAnswer, Chunk, fold
from twicetold.cache import CacheInfo
from twicetold.closing import AsyncClosing, Closing
from twicetold.decoding import Decoder
from twicetold.errors import StreamError

T = TypeVar("T")


class Pieces(Closing, Generic[T]):
    """Pieces of one reply, in the order they come. Close it, or read it to its end."""

    def __init__(self, response: httpx.Response, decoder: Decoder[T]) -> None:
        self._response = response
        self._pieces = self._read(decoder)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._pieces)

    def _read(self, decoder: Decoder[T]) -> Iterator[T]:
        try:
            for content in self._response.iter_bytes():
                yield from decoder.feed(content)
            decoder.finish()
        except (httpx.HTTPError, httpx.StreamError) as error:  # the second one: it was closed
            raise StreamError(f"the answer broke off: {error}") from error
        finally:
            self._response.close()

    def close(self) -> None:
        """Stop reading: the gateway stops generating, unless others listen."""
        self._response.close()


class Stream(Pieces[T]):
    """Pieces of one answer. `cache` is known from the start; what an answer that is being made saves is not, yet."""

    def __init__(self, response: httpx.Response, decoder: Decoder[T], cache: CacheInfo) -> None:
        super().__init__(response, decoder)
        self.cache = cache


class AsyncPieces(AsyncClosing, Generic[T]):
    """As `Pieces`, for `async for`."""

    def __init__(self, response: httpx.Response, decoder: Decoder[T]) -> None:
        self._response = response
        self._pieces = self._read(decoder)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await anext(self._pieces)

    async def _read(self, decoder: Decoder[T]) -> AsyncIterator[T]:
        try:
            async for content in self._response.aiter_bytes():
                for piece in decoder.feed(content):
                    yield piece
            decoder.finish()
        except (httpx.HTTPError, httpx.StreamError) as error:  # the second one: it was closed
            raise StreamError(f"the answer broke off: {error}") from error
        finally:
            await self._response.aclose()

    async def close(self) -> None:
        """Stop reading: the gateway stops generating, unless others listen."""
        await self._response.aclose()


class AsyncStream(AsyncPieces[T]):
    """Pieces of one answer. `cache` is known from the start; what an answer that is being made saves is not, yet."""

    def __init__(self, response: httpx.Response, decoder: Decoder[T], cache: CacheInfo) -> None:
        super().__init__(response, decoder)
        self.cache = cache


class ChatStream(Stream[Chunk]):
    """Chunks of a chat answer."""

    def __init__(self, response: httpx.Response, decoder: Decoder[Chunk], cache: CacheInfo) -> None:
        super().__init__(response, decoder, cache)
        self._seen: list[Chunk] = []

    def __next__(self) -> Chunk:
        chunk = super().__next__()
        self._seen.append(chunk)
        return chunk

    def answer(self) -> ChatAnswer:
        """The whole answer; what was not read yet is read."""
        for _ in self:
            pass
        return fold(self._seen, self.cache)


class AsyncChatStream(AsyncStream[Chunk]):
    """As `ChatStream`, for `async for`."""

    def __init__(self, response: httpx.Response, decoder: Decoder[Chunk], cache: CacheInfo) -> None:
        super().__init__(response, decoder, cache)
        self._seen: list[Chunk] = []

    async def __anext__(self) -> Chunk:
        chunk = await super().__anext__()
        self._seen.append(chunk)
        return chunk

    async def answer(self) -> ChatAnswer:
        """The whole answer; what was not read yet is read."""
        async for _ in self:
            pass
        return fold(self._seen, self.cache)
