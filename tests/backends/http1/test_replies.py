"""What a server may send, and what becomes of it: our HTTP/1.1 client on raw sockets."""

import asyncio
import gzip
import socket
import ssl
import zlib
from contextlib import aclosing, suppress
from functools import partial

import pytest
import trustme

from backends.errors import BackendError, BackendGarbage, BackendUnavailable, RequestRejected
from backends.http import HTTPUpstream
from backends.http1.connection import AT_ONCE_S, Dropped
from backends.http1.dialing import Place, dial
from backends.http1.pool import Pool, PoolRule
from tests.backends.test_http import OK, Serve, fetch, http_to, read_request


def saying(*replies: bytes) -> Serve:
    """A server that gives these replies in turn on every connection."""

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            if not await read_request(reader):
                return
            writer.write(reply)

    return serve


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil it closes", b"until it closes"),
        (b"HTTP/1.0 200 OK\r\n\r\nas of old", b"as of old"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nage: 1\r\n\r\n", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"small"), b"small"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"sm") + gzip.compress(b"all"), b"small"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n" + zlib.compress(b"small"), b"small"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n" + zlib.compress(b"small", wbits=-15), b"small"),
    ],
    # Named, because gzip writes the second it was made in: as bytes in an id, two workers collect other tests.
    ids=[
        "early hints",
        "close",
        "http 1.0",
        "chunks and trailers",
        "no content",
        "gzip",
        "gzip in two members",
        "gzip of nothing",
        "deflate",
        "deflate without a header",
    ],
)
async def test_every_way_to_end_a_body_is_read_to_its_end(reply: bytes, body: bytes) -> None:
    async with http_to(saying(reply)) as (http, _):
        assert await fetch(http) == body


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"half of it")[:-4],
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(bytes(65 * 2**20)),
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"and") + b"junk",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"") * 1000,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n" + zlib.compress(b"and") * 2,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2**20,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000 + b"\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    ],
    ids=[
        "unknown packing",
        "half packed",
        "bomb",
        "packed and junk",
        "packed in nothings",
        "packed twice",
        "endless head",
        "long head",
        "endless trailers",
        "another protocol",
    ],
)
async def test_what_is_no_answer_is_refused_and_its_connection_closed(reply: bytes) -> None:
    is_closed = asyncio.Event()

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)
        with suppress(OSError):
            if b"content-encoding" in reply:
                writer.write_eof()
            await reader.read()
        is_closed.set()

    async with http_to(serve) as (http, _), asyncio.timeout(5):
        with pytest.raises(BackendGarbage):
            await fetch(http)
        await is_closed.wait()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nwhat",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and no HTTP",
        OK + OK.replace(b"ok", b"no"),
    ],
)
async def test_a_reply_with_bytes_behind_its_end_is_refused_at_once(reply: bytes) -> None:
    async with http_to(saying(reply, OK)) as (http, connections), asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(BackendGarbage):
                await fetch(http)
        assert len(connections) == 2  # neither asked again nor kept


async def test_what_comes_while_nobody_asks_closes_the_connection() -> None:
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await asyncio.sleep(0.01)
        writer.write(OK.replace(b"ok", b"no"))
        with suppress(OSError):
            await reader.read()

    async with http_to(serve) as (http, connections):
        await fetch(http)
        await asyncio.sleep(0.05)
        assert await fetch(http) == b"ok"
        assert len(connections) == 2


async def test_what_lies_unread_on_an_idle_connection_is_never_the_next_answer() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await read_request(reader):
            writer.write(OK)

    async with http_to(serve) as (http, connections):
        await fetch(http)
        writers[0].write(OK.replace(b"ok", b"no"))  # and the loop has no time to tell
        assert [await fetch(http), await fetch(http)] == [b"ok", b"ok"]
        assert len(connections) == 2


async def test_a_connection_that_was_answered_before_all_was_sent_is_not_kept() -> None:
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.1)

    async with http_to(serve) as (http, connections):
        deadline = asyncio.get_running_loop().time() + 5
        async with aclosing(await http.send("POST", "/", bytes(2**25), deadline=deadline)) as reply:
            assert await reply.read_all(deadline) == b"ok"
        assert await fetch(http, within_s=1) == b"ok"
        assert len(connections) == 2


async def test_a_server_that_says_so_is_asked_on_a_connection_of_its_own() -> None:
    async with http_to(saying(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), OK)) as (http, connections):
        assert [await fetch(http), await fetch(http)] == [b"ok", b"ok"]
        assert len(connections) == 2


@pytest.mark.parametrize("header", [{"x": "a\r\ny: b"}, {"x\r\ny": "a"}, {"x": "a\nb"}, {"": "a"}])
async def test_a_header_is_one_header(header: dict[str, str]) -> None:
    async with http_to(saying(OK)) as (http, connections):
        with pytest.raises(RequestRejected):
            await http.send("POST", "/", b"{}", deadline=asyncio.get_running_loop().time() + 5, headers=header)
        assert not connections


async def test_a_request_may_have_headers_of_its_own() -> None:
    heads: list[bytes] = []

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    async with http_to(serve) as (http, _):
        await http.send(
            "GET", "/a?b=c", deadline=asyncio.get_running_loop().time() + 5, headers={"User-Agent": "other"}
        )
    first, *rest = heads[0].decode().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)

    assert first == "GET /a?b=c HTTP/1.1"
    assert headers["user-agent"] == "other"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == http.root.removeprefix("http://")
    assert "content-length" not in headers


async def test_an_answer_that_nobody_reads_is_not_taken_in() -> None:
    written = 0

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(bytes(2**18))
                await writer.drain()
                written += 2**18

    async with http_to(serve) as (http, _):
        deadline = asyncio.get_running_loop().time() + 5
        reply = await http.send("POST", "/", b"{}", deadline=deadline)
        await asyncio.sleep(0.1)
        taken = written
        while taken and (written <= taken):
            await reply.read(deadline)  # and goes on when it is read
        await reply.aclose()

    assert taken < 32 * 2**20


async def test_a_name_with_several_addresses_is_reached_at_the_one_that_answers() -> None:
    async with http_to(saying(OK)) as (http, _):
        named = HTTPUpstream("upstream", http.root.replace("127.0.0.1", "localhost"), headers={}, connect_s=1)
        assert await fetch(named) == b"ok"
        await named.close()


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_certificate_is_checked(is_trusted: bool) -> None:
    authority = trustme.CA()
    there, here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(there)
    if is_trusted:
        authority.configure_trust(here)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if await read_request(reader):
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=there)
    place = Place("localhost", server.sockets[0].getsockname()[1], here)
    pool = Pool(partial(dial, place, 5.0), PoolRule(1, 30.0, 1.0))
    deadline = asyncio.get_running_loop().time() + 5
    if is_trusted:
        connection = await pool.lease(deadline)
        connection.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        await connection.answered(deadline)
        assert await connection.read(deadline) == b"ok"
        pool.give_back(connection)
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            await pool.lease(deadline)
    await pool.close()
    server.close()
    await server.wait_closed()


async def test_within_tls_a_body_without_a_length_ends_with_the_servers_word() -> None:
    authority = trustme.CA()
    there, here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(there)
    authority.configure_trust(here)

    is_cut = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if is_cut:
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=there)
    place = Place("localhost", server.sockets[0].getsockname()[1], here)
    for is_cut in (False, True):
        connection = await dial(place, 5.0, lambda _: None)
        deadline = asyncio.get_running_loop().time() + 5
        connection.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        await connection.answered(deadline)
        assert await connection.read(deadline) == b"half"
        if is_cut:
            with pytest.raises(Dropped):
                await connection.read(deadline)
        else:
            assert await connection.read(deadline) is None
        connection.cut()
    server.close()
    await server.wait_closed()


async def test_a_request_that_a_server_worked_on_is_not_sent_again() -> None:
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        if await read_request(reader):
            await asyncio.sleep(1.5 * AT_ONCE_S)

    async with http_to(serve) as (http, connections):
        await fetch(http)
        with pytest.raises(BackendUnavailable) as caught:
            await fetch(http)
        assert not caught.value.retryable
        assert len(connections) == 1


@pytest.mark.parametrize("cut", [0, 9, 30])
async def test_a_used_connection_that_dies_is_replaced_only_when_no_byte_came(cut: int) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.write(OK[:cut] if number == 0 else OK)

    async with http_to(serve) as (http, connections):
        await fetch(http)
        if cut:
            with pytest.raises(BackendError) as caught:
                await fetch(http)
            assert isinstance(caught.value, BackendUnavailable)
            assert not caught.value.retryable
        else:
            assert await fetch(http) == b"ok"
        assert len(connections) == (1 if cut else 2)
