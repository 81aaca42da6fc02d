"""One upstream over HTTP: pooled connections, deadlines, a size limit, and every transport error in our words.

    async with aclosing(await http.send("POST", "/chat/completions", body, deadline=...)) as reply:
        while (chunk := await reply.read(deadline)) is not None: ...
    # left before its end: the connection is closed, the upstream notices

Deadlines are points on the running loop's clock. Nothing of the environment is read (no proxy), no redirect is
followed, certificates are checked. The client is our own (`http1/`), HTTP/1.1 alone: docs/performance.md has what
others cost, who walk all connections for each request.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from backends.errors import (
    BackendBusy,
    BackendError,
    BackendGarbage,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
)
from backends.http1.address import address_of
from backends.http1.connection import Connection, Dropped, NotHTTP
from backends.http1.decoding import Unpacking
from backends.http1.dialing import ConnectTimeout, Place, dial, verifying
from backends.http1.pool import NoRoom, Pool, PoolRule
from backends.journey import headers_on_the_way

MAX_CONNECTIONS = 4096  # as many callers as the gateway lets in
KEEPALIVE_S = 30.0
MOST_HEADS = 64
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


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

    def __init__(self, connection: Connection, pool: Pool, upstream: str, max_bytes: int) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers  # names in lower case
        self._connection: Connection | None = connection  # None: given back
        self._pool = pool
        self._upstream = upstream
        self._bytes_left = max_bytes
        coding = connection.headers.get("content-encoding")
        self._unpacking = None if coding is None else _unpacking(coding, upstream)

    async def read(self, deadline: float) -> bytes | None:
        """The next bytes, or None at the end. Raises `BackendError`."""
        connection = self._connection
        if connection is None:
            return None
        try:
            chunk = await connection.read(deadline)
            if self._unpacking is not None:
                chunk = self._unpacking.next(chunk, self._bytes_left)
        except NotHTTP as error:
            raise BackendGarbage(f"{self._upstream} sent an answer that is no HTTP to its end") from error
        except (Dropped, ValueError) as error:
            raise BackendGarbage(f"{self._upstream} cut its answer off in the middle") from error
        except TimeoutError as error:
            raise _late(self._upstream) from error
        if chunk is None:
            self._give_back()
            return None
        self._bytes_left -= len(chunk)
        if self._bytes_left < 0:
            raise BackendGarbage(f"{self._upstream} sent more than an answer may have")
        return chunk

    async def read_all(self, deadline: float) -> bytes:
        """The whole body. Raises `BackendError`."""
        chunks = []
        while (chunk := await self.read(deadline)) is not None:
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def aclose(self) -> None:
        """Give the connection back when the body was read to its end, cut it when not."""
        self._give_back()

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)


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
        """Raises ValueError for a URL that is none, or headers that cannot be sent."""
        self.name = name
        self.root = root
        self._max_response_bytes = max_response_bytes
        address = address_of(root)
        place = Place(address.host, address.port, verifying() if address.is_tls else None)
        self._pool = Pool(partial(dial, place, connect_s), PoolRule(MAX_CONNECTIONS, KEEPALIVE_S, connect_s))
        said = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "twicetold", **headers}
        self._headers = {"host": address.netloc, **{name.lower(): value for name, value in said.items()}}
        self._lines = {name: _line(name, value) for name, value in self._headers.items()}
        self._heads: dict[tuple[str, str], bytes] = {}  # of method and path: what each request begins with

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
        request = self._request(method, path, body, headers or {})
        reply = await self._send_once(request, deadline, is_new=False)
        if reply is None:  # closed before the request was there, so nothing is answered, or paid for, twice
            reply = await self._send_once(request, deadline, is_new=True)
        if reply is None:
            raise _closed(self.name)
        return reply

    async def close(self) -> None:
        await self._pool.close()

    async def _send_once(self, request: bytes, deadline: float, *, is_new: bool) -> Reply | None:
        """None when a connection that we had kept open was dead before it was used again."""
        connection = await self._leased(deadline, is_new)
        try:
            connection.send(request)
            await connection.answered(deadline)
            return Reply(connection, self._pool, self.name, self._max_response_bytes)
        except BaseException as error:
            self._pool.give_back(connection)
            if isinstance(error, TimeoutError):
                raise _late(self.name) from error
            if isinstance(error, NotHTTP):
                raise BackendGarbage(f"{self.name} does not speak HTTP") from error
            if not isinstance(error, Dropped):
                raise
            if connection.was_idle and connection.was_lost_at_once:
                return None
            raise _closed(self.name) from error

    async def _leased(self, deadline: float, is_new: bool) -> Connection:
        try:
            return await self._pool.lease(deadline, is_new=is_new)
        except NoRoom as error:
            raise BackendBusy(f"all {MAX_CONNECTIONS} connections to {self.name} are in use") from error
        except ConnectTimeout as error:
            raise BackendTimeout(f"{self.name} did not accept a connection in time") from error
        except TimeoutError as error:
            raise _late(self.name) from error
        except ssl.SSLCertVerificationError as error:
            raise BackendUnavailable(
                f"{self.name}: its certificate is not accepted ({error.verify_message})"
            ) from error
        except OSError as error:
            raise BackendUnavailable(f"{self.name} cannot be reached") from error

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        said = {**headers_on_the_way(), **headers}
        if said:
            changed = {name.lower(): _line(name.lower(), value) for name, value in said.items()}
            head = _first_line(method, self.root + path) + b"".join({**self._lines, **changed}.values())
        elif (head := self._heads.get((method, path), b"")) == b"":
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            head = self._heads[method, path] = _first_line(method, self.root + path) + b"".join(self._lines.values())
        if body is None:
            return head + b"\r\n"
        return b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def _first_line(method: str, url: str) -> bytes:
    return b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), address_of(url).target)


def _line(name: str, value: str) -> bytes:
    """Raises `RequestRejected` for what would be read as more than one header."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise RequestRejected(f"The header {name!r} cannot be sent.", code="invalid_header")
    return f"{name}: {value}\r\n".encode("latin-1", "replace")


def _unpacking(coding: str, upstream: str) -> Unpacking | None:
    coding = coding.strip().lower()
    try:
        return None if coding in ("", "identity") else Unpacking(coding)
    except ValueError as error:
        raise BackendGarbage(f"{upstream} packed its answer as it was not asked to") from error


def _late(upstream: str) -> BackendError:
    return BackendTimeout(f"{upstream} did not answer in time")


def _closed(upstream: str) -> BackendUnavailable:
    """It may have read the request, and may have been paid for: asking once more is not ours to decide."""
    return BackendUnavailable(f"{upstream} closed the connection without an answer", retryable=False)
