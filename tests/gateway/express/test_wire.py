"""On the wire nobody can tell which road a request took: whole streams of bytes, cut anywhere, are answered alike."""

import asyncio
import re
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio
from uvicorn.server import ServerState

from gateway.app import ERRORS, create_app
from gateway.edge.server import config_of
from tests.gateway.express.serving import Caller, Town, asking, request_of, town
from tests.upstream import running_upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

KNOWN = [
    request_of(asking("What is a block table?")),
    request_of(asking("What is a block table?", stream=True)),
    request_of(asking("And a page table?"), "sk-two"),
    request_of({**asking("Hello?"), "max_tokens": 64}, path="/v1/messages"),
]
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-a: b\r\n\r\n"
)
OTHERS = [
    request_of(asking("What is a block table?"), x_request_id="one-7"),
    request_of(asking("What is a block table?"), traceparent="00-1-2-3", b3="0"),
    request_of(asking("What is a block table?"), connection="keep-alive"),
    request_of(asking("What is a block table?"), connection="Upgrade, HTTP2-Settings", upgrade="h2c"),
    request_of({"model": 7}),
    request_of(asking("What is a block table?")).replace(b"Bearer sk-one", b"Bearer tt_" + b"a" * 43),
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    b"\r\n\r\n",
    CHUNKED,
]
BROKEN = [
    request_of(asking("What is a block table?")).replace(b"Host: 127.0.0.1\r\n", b""),
    request_of(asking("What is a block table?")).replace(b"\r\nHost", b"\r\n Host"),
    request_of(asking("What is a block table?")).replace(b"Content-Length", b"Content-Length: 2\r\nContent-Length"),
    request_of(asking("What is a block table?")).replace(b"HTTP/1.1", b"HTTP/1.0"),
    request_of(asking("What is a block table?"), connection="close"),
    b"nonsense\r\n\r\n",
]
_OF_EACH = re.compile(rb"(date|x-request-id|x-twicetold-overhead-ms|age|transfer-encoding): [^\r]*\r\n")
_NAMES = re.compile(rb'(chatcmpl-|msg_)[0-9a-f]{32}|"created":\d+')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    with running_upstream() as upstream:
        async with town(tmp_path_factory.mktemp("data"), upstream) as there:
            yield there


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain_port(place: Town) -> AsyncIterator[int]:
    """The same gateway on a server without an express road."""
    services, loop = place.services, asyncio.get_running_loop()
    app = create_app(services, services.opened, place.curfew)
    config = config_of(app, services.edge.rules, services.edge.counts, ERRORS, 0.0)
    config.load()
    state = ServerState()
    server = await loop.create_server(lambda: config.http_protocol_class(config, state, {}, loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said_to(port: int, pieces: list[bytes]) -> bytes:
    """Everything that comes back until the server closes, without what is another response's by right."""
    caller = Caller(*await asyncio.open_connection("127.0.0.1", port))
    for piece in pieces:
        caller.writer.write(piece)
        await asyncio.sleep(0.0005)
    async with asyncio.timeout(20):
        said = await caller.reader.read()
    await caller.close()
    return _NAMES.sub(b"", _OF_EACH.sub(b"", said))


def cut(stream: bytes, draws: Random) -> list[bytes]:
    """In pieces: by requests mostly, or anywhere."""
    at = sorted(draws.randrange(len(stream)) for _ in range(draws.choice((0, 1, 3, 8))))
    return [piece for piece in map(stream.__getitem__, map(slice, [0, *at], [*at, len(stream)])) if piece]


async def test_streams_of_requests_are_answered_alike(place: Town, plain_port: int) -> None:
    caller, draws = await place.connect(), Random(5)
    for request in KNOWN * 2:
        await caller.ask(request)
    for _ in range(40):
        requests = [draws.choice(KNOWN if draws.random() < 0.7 else OTHERS) for _ in range(draws.randrange(1, 6))]
        pieces = cut(b"".join(requests), draws) if draws.random() < 0.6 else requests
        pieces = [*pieces, draws.choice(BROKEN) if draws.random() < 0.3 else LAST]

        express, plain = await asyncio.gather(said_to(place.port, pieces), said_to(plain_port, pieces))

        assert express == plain, pieces

    assert place.given > 15
