"""Connections that die at the wrong moment, on raw sockets."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest
import trustme

from backends.errors import BackendError, BackendGarbage, BackendTimeout, BackendUnavailable
from backends.http import HTTPUpstream, api_root
from backends.http1.dialing import verifying

Serve = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def http_to(serve: Serve) -> AsyncIterator[tuple[HTTPUpstream, list[int]]]:
    """A client of a server that runs `serve` for every connection; and the connections counted."""
    connections: list[int] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        try:
            await serve(connections[-1], reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = HTTPUpstream("upstream", f"http://127.0.0.1:{port}", headers={}, connect_s=1)
    try:
        yield http, connections
    finally:
        await http.close()
        server.close()
        await server.wait_closed()


async def fetch(http: HTTPUpstream, within_s: float = 5) -> bytes:
    deadline = asyncio.get_running_loop().time() + within_s
    async with aclosing(await http.send("POST", "/", b"{}", deadline=deadline)) as reply:
        return await reply.read_all(deadline)


async def read_request(reader: asyncio.StreamReader) -> bool:
    """Read one request to its end; whether there was one."""
    try:
        await reader.readuntil(b"\r\n\r\n{}")
    except asyncio.IncompleteReadError:
        return False
    return True


async def test_a_connection_found_dead_is_replaced_once_and_nobody_notices() -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)  # the first connection dies while it is used again
        if number > 0:
            writer.write(OK)

    async with http_to(serve) as (http, connections):
        assert [await fetch(http), await fetch(http)] == [b"ok", b"ok"]
        assert len(connections) == 2


async def test_a_new_connection_that_dies_is_an_error_at_once() -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with http_to(serve) as (http, connections):
        with pytest.raises(BackendUnavailable):
            await fetch(http)
        assert len(connections) == 1


async def test_a_request_is_sent_at_most_twice() -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if number == 0:
            writer.write(OK)
            await read_request(reader)

    async with http_to(serve) as (http, connections):
        await fetch(http)
        with pytest.raises(BackendUnavailable):
            await fetch(http)
        assert len(connections) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", BackendGarbage),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhal\r\n", BackendGarbage),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", BackendGarbage),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nhalf", BackendGarbage),
        (b"HTTP/1.1 200 OK\r\ncontent-", BackendUnavailable),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", BackendGarbage),
    ],
)
async def test_a_broken_reply_is_named(reply: bytes, kind: type[BackendError]) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)

    async with http_to(serve) as (http, connections):
        with pytest.raises(BackendError) as caught:
            await fetch(http)
        assert type(caught.value) is kind
        assert len(connections) == 1


async def test_what_was_begun_is_not_asked_again() -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.write(OK[:-1])

    async with http_to(serve) as (http, connections):
        await fetch(http)
        with pytest.raises(BackendGarbage):
            await fetch(http)
        assert len(connections) == 1


async def test_a_reply_left_halfway_closes_its_connection() -> None:
    is_gone = asyncio.Event()

    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK[:-1])
        await reader.read()
        is_gone.set()

    async with http_to(serve) as (http, _), asyncio.timeout(5):
        deadline = asyncio.get_running_loop().time() + 5
        async with aclosing(await http.send("POST", "/", b"{}", deadline=deadline)) as reply:
            await reply.read(deadline)
        await is_gone.wait()


async def test_a_deadline_ends_the_wait() -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with http_to(serve) as (http, _):
        with pytest.raises(BackendTimeout):
            await fetch(http, within_s=0.05)


@pytest.mark.parametrize("root", ["http://name.invalid", "http://127.0.0.1:9", "http://[::1]:9"])
async def test_a_server_that_is_not_there_is_unavailable(root: str) -> None:
    http = HTTPUpstream("upstream", root, headers={}, connect_s=1)
    with pytest.raises(BackendUnavailable):
        await fetch(http)
    await http.close()


async def test_a_server_that_speaks_no_tls_is_unavailable() -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with http_to(serve) as (plain, _):
        http = HTTPUpstream("upstream", plain.root.replace("http:", "https:"), headers={}, connect_s=1)
        with pytest.raises(BackendUnavailable):
            await fetch(http)
        await http.close()


async def test_a_private_root_is_trusted_once_the_machine_does_and_its_lack_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, there = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(there)
    authority.cert_pem.write_to_path(str(tmp_path / "root.pem"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=there)
    root = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    for is_trusted in (False, True):
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        verifying.cache_clear()
        http = HTTPUpstream("upstream", root, headers={}, connect_s=5)
        if is_trusted:
            assert await fetch(http) == b"ok"
        else:
            with pytest.raises(BackendUnavailable, match="its certificate is not accepted"):
                await fetch(http)
        await http.close()
    verifying.cache_clear()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1", "http://host:8000/v1"),
        (" http://host/v1/ ", "http://host/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("https://host/openai", "https://host/openai/v1"),
        ("https://host/openai/v1", "https://host/openai/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("http://[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_an_upstream_may_be_named_with_its_version_or_without(url: str, root: str) -> None:
    assert api_root(url) == root


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host", "http://", "http://host:99999", "http://host/v1?a=b"])
def test_what_is_not_an_upstream_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|Port"):
        api_root(url)


async def test_a_request_given_up_the_moment_its_connection_is_there_leaves_none_behind() -> None:
    """In a busy gateway httpcore forgot one in fifty of these: made, and not begun, it was never closed."""
    open_now, asks = 0, list[asyncio.Task[bytes]]()

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        asks[-1].cancel()
        with suppress(OSError):
            await reader.read()  # never a word
        open_now -= 1

    async with http_to(serve) as (http, connections):
        for _ in range(20):
            asks.append(asyncio.create_task(fetch(http)))
            await asyncio.wait(asks)
        async with asyncio.timeout(10):
            while open_now or len(connections) < len(asks):  # noqa: ASYNC110 - the other end says when
                await asyncio.sleep(0.01)

    assert all(ask.cancelled() for ask in asks)


async def test_no_deadline_leaves_a_connection_open_that_the_server_has_closed() -> None:
    open_now, rng = 0, Random(0)

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        with suppress(OSError):
            if await read_request(reader):
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                for _ in range(5):
                    writer.write(b"some")
                    await asyncio.sleep(0.005)
                writer.write_eof()
                await reader.read()  # until the client closes, too
        open_now -= 1

    async def be_busy() -> None:
        while True:
            time.sleep(0.003)  # noqa: ASYNC251 (a loop with much to do, where much falls together)
            await asyncio.sleep(0.0005)

    async with http_to(serve) as (http, connections):

        async def lane() -> None:
            for _ in range(8):
                with suppress(BackendError):
                    await fetch(http, rng.uniform(0.005, 0.4))

        busy = asyncio.create_task(be_busy())
        await asyncio.gather(*[lane() for _ in range(30)])
        busy.cancel()
        async with asyncio.timeout(10):
            while open_now:  # noqa: ASYNC110 - the other end says when
                await asyncio.sleep(0.01)

    assert connections
