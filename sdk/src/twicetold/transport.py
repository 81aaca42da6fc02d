"""The two shells that send: a call goes out, again if it may pass, and what comes back is given to the call."""

import time
from contextlib import aclosing, closing
from typing import Any, TypeVar

import anyio
import httpx

from twicetold.cache import CacheInfo
from twicetold.config import Config, failure_of
from twicetold.errors import APIStatusError, UnreadableError
from twicetold.retrying import Attempts
from twicetold.sending import Call, StreamCall, raise_for

T = TypeVar("T")


class Transport:
    """Sends, and waits."""

    def __init__(self, config: Config, http: httpx.Client | None) -> None:
        self._config = config
        self._http = http or httpx.Client()
        self._owns_http = http is None

    def send(self, call: Call[T]) -> T:
        attempts = Attempts(self._config.retries, call.sent)
        while True:
            try:
                response = self._http.send(self._http.build_request(**self._config.request(call.sent)))
                return call.answer(response.status_code, response.headers, response.content)
            except httpx.HTTPError as error:
                pause_s = attempts.wait_s(failure_of(error), error)
            except APIStatusError as error:
                pause_s = attempts.wait_s(error)
            time.sleep(pause_s)

    def open(self, call: StreamCall[Any]) -> httpx.Response:
        """A response whose body is still to come. What breaks from here on is not sent again."""
        attempts = Attempts(self._config.retries, call.sent)
        while True:
            try:
                request = self._http.build_request(**self._config.request(call.sent))
                response = self._http.send(request, stream=True)
                if response.is_success:
                    return response
                with closing(response):
                    raise_for(response.status_code, response.headers, response.read())
            except httpx.HTTPError as error:
                pause_s = attempts.wait_s(failure_of(error), error)
            except APIStatusError as error:
                pause_s = attempts.wait_s(error)
            time.sleep(pause_s)

    def begin(self, call: StreamCall[Any]) -> tuple[httpx.Response, CacheInfo]:
        """An answer that is still to come, and where it comes from."""
        response = self.open(call)
        try:
            return response, call.cache(response.headers)
        except UnreadableError:
            response.close()
            raise

    def close(self) -> None:
        """Let go of the connections, unless they are the caller's."""
        if self._owns_http:
            self._http.close()


class AsyncTransport:
    """As `Transport`, with awaits."""

    def __init__(self, config: Config, http: httpx.AsyncClient | None) -> None:
        self._config = config
        self._http = http or httpx.AsyncClient()
        self._owns_http = http is None

    async def send(self, call: Call[T]) -> T:
        attempts = Attempts(self._config.retries, call.sent)
        while True:
            try:
                response = await self._http.send(self._http.build_request(**self._config.request(call.sent)))
                return call.answer(response.status_code, response.headers, response.content)
            except httpx.HTTPError as error:
                pause_s = attempts.wait_s(failure_of(error), error)
            except APIStatusError as error:
                pause_s = attempts.wait_s(error)
            await anyio.sleep(pause_s)

    async def open(self, call: StreamCall[Any]) -> httpx.Response:
        """A response whose body is still to come. What breaks from here on is not sent again."""
        attempts = Attempts(self._config.retries, call.sent)
        while True:
            try:
                request = self._http.build_request(**self._config.request(call.sent))
                response = await self._http.send(request, stream=True)
                if response.is_success:
                    return response
                async with aclosing(response):
                    raise_for(response.status_code, response.headers, await response.aread())
            except httpx.HTTPError as error:
                pause_s = attempts.wait_s(failure_of(error), error)
            except APIStatusError as error:
                pause_s = attempts.wait_s(error)
            await anyio.sleep(pause_s)

    async def begin(self, call: StreamCall[Any]) -> tuple[httpx.Response, CacheInfo]:
        """An answer that is still to come, and where it comes from."""
        response = await self.open(call)
        try:
            return response, call.cache(response.headers)
        except UnreadableError:
            await response.aclose()
            raise

    async def close(self) -> None:
        """Let go of the connections, unless they are the caller's."""
        if self._owns_http:
            await self._http.aclose()
