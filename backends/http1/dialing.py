"""A connection to a name: its addresses in turn, the next one beside a slow one (RFC 8305), then TLS.

Whoever waits for it is not waited for: it may be cancelled anywhere before TLS, and TLS has a time of its own.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest
from typing import Any

from backends.http1.connection import EARLY_S, Connection

BESIDE_S = 0.25  # how long an address may take before the next one is tried beside it

Address = tuple[int, int, int, str, Any]


class ConnectTimeout(Exception):
    """The server did not accept a connection in time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


@cache
def verifying() -> ssl.SSLContext:
    """What every server with TLS is checked with: certifi's roots, and those of the machine (`SSL_CERT_FILE`)."""
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()  # an engine of one's own has a certificate of one's own root
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(place: Place, within_s: float, on_lost: Callable[[Connection], None]) -> Connection:
    """A new connection. Raises `ConnectTimeout`, OSError."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    try:
        async with asyncio.timeout_at(end_s):
            sock = await _reach(place, loop)
    except TimeoutError as error:
        raise ConnectTimeout from error
    left_s = max(0.001, end_s - loop.time())
    try:
        _, connection = await loop.create_connection(
            lambda: Connection(loop, on_lost),
            sock=sock,  # the transport's from now on, to close as well
            ssl=place.tls,
            server_hostname=place.host if place.tls else None,
            ssl_handshake_timeout=left_s if place.tls else None,
        )
    except OSError as error:
        if loop.time() >= end_s - EARLY_S:
            raise ConnectTimeout from error
        raise
    return connection


async def _reach(place: Place, loop: asyncio.AbstractEventLoop) -> socket.socket:
    addresses = _in_turn(await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM))
    tries: list[asyncio.Task[socket.socket]] = []
    try:
        for address in addresses:
            tries.append(loop.create_task(_connected(address, loop)))
            if (found := await _first(tries, BESIDE_S if address is not addresses[-1] else None)) is not None:
                return found
        raise _why_none(tries)
    finally:
        for one in tries:
            one.add_done_callback(_close_unless_taken)
            one.cancel()


async def _first(tries: list[asyncio.Task[socket.socket]], within_s: float | None) -> socket.socket | None:
    """The socket of whoever is connected first; None when all that were tried failed, or after a time."""
    pending = {one for one in tries if not one.done()}
    while pending:
        done, pending = await asyncio.wait(pending, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            if not one.cancelled() and one.exception() is None:
                tries.remove(one)
                return one.result()
        if not done:
            break
    return None


async def _connected(address: Address, loop: asyncio.AbstractEventLoop) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _in_turn(addresses: Sequence[Any]) -> list[Address]:
    """Families alternate, the resolver's first one first."""
    first = addresses[0][0]
    same, other = ([a for a in addresses if (a[0] == first) is is_first] for is_first in (True, False))
    return [address for address in chain.from_iterable(zip_longest(same, other)) if address is not None]


def _why_none(tries: Sequence[asyncio.Task[socket.socket]]) -> OSError:
    errors = [error for one in tries if isinstance(error := one.exception(), OSError)]
    return errors[0] if errors else OSError("no address")


def _close_unless_taken(one: asyncio.Task[socket.socket]) -> None:
    with suppress(asyncio.CancelledError, OSError):
        one.result().close()
