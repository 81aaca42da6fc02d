"""One upstream over HTTP: pooled connections, deadlines, a size limit, and every transport error in our words.

    async with aclosing(await http.send("POST", "/chat/completions", body, deadline=...)) as reply:
        while (chunk := await reply.read(deadline)) is not None: ...
    # left before its end: the connection is closed, the upstream notices

Deadlines are points on the running loop's clock. They are ours and not httpx's read timeout, which every keep-alive
comment would start anew.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from backends.errors import BackendBusy, BackendError, BackendGarbage, BackendTimeout, BackendUnavailable
from backends.journey import headers_on_the_way
from backends.leaving import Line

T = TypeVar("T")

MAX_CONNECTIONS = 512
KEEPALIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an upstream may take, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0  # from sending a streamed request to its first delta
    idle_s: float = 60.0  # between two deltas; keep-alive comments do not count
    total_s: float = 600.0  # the whole exchange; the only limit of an answer that is not streamed


def api_root(base_url: str) -> str:
    """The URL under which `/chat/completions` lives. `http://host`, `http://host/v1` and the endpoint itself all work.

    A path that names a version (`/v1`, `/v1beta/openai`) is taken as it is, any other gets `/v1`.
    Raises ValueError for what is not an http(s) URL, and does not repeat it: it may hold a key.
    """
    url = base_url.strip().rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("not an http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an upstream URL has no user and no password")
    if parts.query or parts.fragment:
        raise ValueError("an upstream URL has no query and no fragment")
    has_version = any(part[:1] == "v" and part[1:2].isdigit() for part in parts.path.split("/"))
    return url if has_version else f"{url}/v1"


class Reply:
    """A response whose body is still on the wire. Use it in `aclosing`."""

    def __init__(self, response: httpx.Response, upstream: str, max_bytes: int, line: Line) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._chunks = response.aiter_bytes()
        self._upstream = upstream
        self._bytes_left = max_bytes
        self._line = line

    async def read(self, deadline: float) -> bytes | None:
        """The next bytes, or None at the end. Raises `BackendError`."""
        reading = self._line.kept(anext(self._chunks, None), self._response)
        chunk = await _guarded(reading, deadline, self._upstream, is_answering=True)
        if chunk is not None:
            self._bytes_left -= len(chunk)
            if self._bytes_left < 0:
                raise BackendGarbage(f"{self._upstream} sent more than an answer may have")
        return chunk

    async def read_all(self, deadline: float) -> bytes:
        """The whole body. Raises `BackendError`."""
        chunks = []
        while (chunk := await self.read(deadline)) is not None:
            chunks.append(chunk)
        return b"".join(chunks)

    async def aclose(self) -> None:
        """Give the connection back when the body was read to its end, cut it when not."""
        if self._line.ending is not None:  # it was left in the middle of a read, and is closed behind our back
            await asyncio.shield(self._line.ending)
            return
        await self._line.kept(self._close())

    async def _close(self) -> None:
        await self._response.aclose()
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()


class HTTPUpstream:
    """One server and our pooled connections to it."""

    def __init__(
        self,
        name: str,
        root: str,
        *,
        headers: Mapping[str, str],
        connect_s: float,
        max_response_bytes: int = 64 * 2**20,
    ) -> None:
        self.name = name
        self.root = root
        self._max_response_bytes = max_response_bytes
        self._endings: set[asyncio.Task[None]] = set()  # of requests that were given up
        self._client = httpx.AsyncClient(
            headers={"accept-encoding": "identity", "user-agent": "twicetold", **headers},
            timeout=httpx.Timeout(None, connect=connect_s, pool=connect_s),
            # httpcore counts busy connections against the idle limit, so a lower one would close idle ones under load.
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEPALIVE_S,
            ),
            trust_env=False,  # the environment is read in one place, and that is not here
        )

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        deadline: float,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask, and return as soon as the status and headers are here. Raises `BackendError`."""
        try:
            return await self._send_once(method, path, body, deadline, headers)
        except _StaleConnection:
            try:
                return await self._send_once(method, path, body, deadline, headers)
            except _StaleConnection as error:
                raise _closed(self.name) from error

    async def close(self) -> None:
        if self._endings:
            await asyncio.wait(self._endings)
        await self._client.aclose()

    async def _send_once(
        self, method: str, path: str, body: bytes | None, deadline: float, headers: Mapping[str, str] | None
    ) -> Reply:
        line = Line(self._endings)

        request = self._client.build_request(
            method,
            self.root + path,
            content=body,
            headers={
                **({"content-type": "application/json"} if body is not None else {}),
                **headers_on_the_way(),
                **(headers or {}),
            },
            extensions={"trace": line.trace},
        )
        try:
            sending = line.kept(self._client.send(request, stream=True))
            response = await _guarded(sending, deadline, self.name, is_answering=False)
            return Reply(response, self.name, self._max_response_bytes, line)
        except BackendUnavailable as error:
            # Kept open by us, closed by the server meanwhile: no byte of an answer came, so nothing is asked twice.
            if line.is_reused and isinstance(error.__cause__, httpx.RemoteProtocolError | httpx.ReadError):
                raise _StaleConnection(error.message) from error.__cause__
            raise


class _StaleConnection(BackendUnavailable):
    """A pooled connection was dead before it was used again."""


async def _guarded(work: Awaitable[T], deadline: float, upstream: str, *, is_answering: bool) -> T:
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError as error:
        raise BackendTimeout(f"{upstream} did not answer in time") from error
    except (httpx.HTTPError, OSError) as error:
        raise _in_our_words(error, upstream, is_answering) from error


def _in_our_words(error: Exception, upstream: str, is_answering: bool) -> BackendError:
    if isinstance(error, httpx.PoolTimeout):
        return BackendBusy(f"all {MAX_CONNECTIONS} connections to {upstream} are in use")
    if isinstance(error, httpx.TimeoutException):
        return BackendTimeout(f"{upstream} did not accept a connection in time")
    if isinstance(error, httpx.ConnectError):
        return BackendUnavailable(f"{upstream} cannot be reached")
    if is_answering:
        return BackendGarbage(f"{upstream} cut its answer off in the middle")
    if isinstance(error, httpx.RemoteProtocolError) and not str(error).startswith("Server disconnected"):
        return BackendGarbage(f"{upstream} does not speak HTTP")
    return _closed(upstream)


def _closed(upstream: str) -> BackendUnavailable:
    """It may have read the request, and may have been paid for: asking once more is not ours to decide."""
    return BackendUnavailable(f"{upstream} closed the connection without an answer", retryable=False)
