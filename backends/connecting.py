"""Connections that are given up while they are made, and closed all the same.

Who asks may leave at any moment. anyio's `connect_tcp` forgets a connection that was made in the very moment its caller
is cancelled, and httpcore closes none whose TLS is cancelled half-way: both stay open until the process ends. Here the
work goes on by itself, for as long as it may take, and what comes of it is closed.
"""

import asyncio
import ssl
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

import httpcore
import httpx


class Connecting(httpcore.AnyIOBackend):
    """As httpcore's own. Belongs to one event loop."""

    def __init__(self) -> None:
        self.late: set[asyncio.Task[None]] = set()  # connections nobody waits for any more

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (the name that httpcore gives it)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self.kept(super().connect_tcp(host, port, timeout, local_address, socket_options))
        return _Plain(stream, self)

    async def kept(self, work: Coroutine[Any, Any, httpcore.AsyncNetworkStream]) -> httpcore.AsyncNetworkStream:
        """What `work` makes; closed when it is made for nobody."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            late = asyncio.ensure_future(_closed(task))
            self.late.add(late)
            late.add_done_callback(self.late.discard)
            raise


class _Plain(httpcore.AsyncNetworkStream):
    """A connection that may become one of TLS."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, connecting: Connecting) -> None:
        self._stream = stream
        self._connecting = connecting
        self.read = stream.read  # type: ignore[method-assign]  # no layer more for each piece
        self.write = stream.write  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the name that httpcore gives it)
    ) -> httpcore.AsyncNetworkStream:
        return await self._connecting.kept(self._stream.start_tls(ssl_context, server_hostname, timeout))


def transport(limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    """httpx's, over such connections. httpx has no argument for them, so its pool is one of ours."""
    made = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
    made._pool = httpcore.AsyncConnectionPool(
        ssl_context=httpx.create_ssl_context(trust_env=False),
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=limits.keepalive_expiry,
        network_backend=Connecting(),
    )
    return made


async def _closed(task: "asyncio.Task[httpcore.AsyncNetworkStream]") -> None:
    with suppress(Exception):  # it failed, or it cannot be closed: nobody waits for it
        await (await task).aclose()
