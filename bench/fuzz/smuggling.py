"""Requests that two servers could read in two ways, sent as raw bytes: ours reads them in one, or refuses them.

Each form hides a request for /smuggled behind the framing of another. A proxy in front of the gateway that reads the
framing in the other way would think the hidden one part of a body, and let it by. So it may never reach the
application, whichever HTTP parser is installed. The forms are those of "HTTP Desync Attacks" (Kettle, 2019), "HTTP
Request Smuggling" (Linhart and others, 2005), RFC 9112, and what the authors of llhttp and h11 had reported to them.
"""

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.edge.rules import EdgeCounts, EdgeRules
from gateway.edge.server import config_of

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /open HTTP/1.1\r\nHost: x\r\n"
OPEN = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = ("GET", "/smuggled", b"")
OLD_POST = b"POST /open HTTP/1.0\r\nConnection: keep-alive\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
_SIZE = str(len(HIDDEN)).encode()
_CHUNK = b"%x" % len(HIDDEN)
OURS, H11 = "ours", "h11"
QUIET_S = 0.25  # a server that said nothing for so long has said all


def _both(coding: bytes, length: bytes = b"0") -> bytes:
    """By one header the body is over, by the other the hidden request is part of it."""
    return POST + b"Content-Length: " + length + b"\r\n" + coding + b"\r\n\r\n0\r\n\r\n" + HIDDEN


def _coded(coding: bytes) -> bytes:
    return POST + coding + b"\r\nContent-Length: " + str(len(HIDDEN) + 5).encode() + b"\r\n\r\n0\r\n\r\n" + HIDDEN


def _chunked(body: bytes) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + body


def _lengths(*values: bytes) -> bytes:
    return POST + b"".join(b"Content-Length: " + value + b"\r\n" for value in values) + b"\r\n" + HIDDEN


# What nobody may read as two requests: the hidden one stays hidden, or all of it is refused.
AMBIGUOUS: Mapping[str, bytes] = {
    "CL.TE": _both(b"Transfer-Encoding: chunked"),
    "CL.TE, a length that covers all": _coded(b"Transfer-Encoding: chunked"),
    "TE.CL": POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + _CHUNK + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
    "TE.TE, another word first": _coded(b"Transfer-Encoding: chunked, identity"),
    "TE of a word that ends alike": _coded(b"Transfer-Encoding: xchunked"),
    "TE with a tab": _coded(b"Transfer-Encoding:\tchunked"),
    "TE with a form feed": _coded(b"Transfer-Encoding: \x0cchunked"),
    "TE with a vertical tab": _coded(b"Transfer-Encoding: \x0bchunked"),
    "TE in quotes": _coded(b'Transfer-Encoding: "chunked"'),
    "TE with a space before the colon": _coded(b"Transfer-Encoding : chunked"),
    "TE behind a folded line": _coded(b"X: y\r\n Transfer-Encoding: chunked"),
    "TE on a folded line": _coded(b"Transfer-Encoding:\r\n chunked"),
    "TE behind a bare line feed": _coded(b"X: y\nTransfer-Encoding: chunked"),
    "TE behind a bare carriage return": _coded(b"X: y\rTransfer-Encoding: chunked"),
    "TE behind a NUL": _coded(b"X: y\0\r\nTransfer-Encoding: chunked"),
    "TE twice": _coded(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    "TE twice, chunked last": _coded(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
    "TE of a first line with a space": _coded(b" Transfer-Encoding: chunked"),
    "TE of HTTP/1.0": OLD_POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "TE of HTTP/1.0 alone": OLD_POST + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": _lengths(b"0", _SIZE),
    "two lengths, the other way round": _lengths(_SIZE, b"0"),
    "two lengths in one": _lengths(b"0, " + _SIZE),
    "a length with a plus": _lengths(b"+0"),
    "a length below nothing": _lengths(b"-1"),
    "a length in hexadecimal": _lengths(b"0x0"),
    "a length with an underscore": _lengths(b"0_0"),
    "a length with a space inside": _lengths(b"0 0"),
    "a length of other digits": _lengths("\u0660".encode()),
    "a length past 64 bits": _lengths(b"18446744073709551616"),
    "a length with a fraction": _lengths(b"0.0"),
    "a length with a space before the colon": POST + b"Content-Length : " + _SIZE + b"\r\n\r\n" + HIDDEN,
    "an empty length": _lengths(b""),
    "a length behind a bare line feed": POST + b"X: y\nContent-Length: " + _SIZE + b"\r\n\r\n" + HIDDEN,
    "a chunk size with a plus": _chunked(b"+0\r\n\r\n" + HIDDEN),
    "a chunk size below nothing": _chunked(b"-1\r\n\r\n" + HIDDEN),
    "a chunk size with 0x": _chunked(b"0x0\r\n\r\n" + HIDDEN),
    "a chunk size past 64 bits": _chunked(b"10000000000000000\r\n\r\n" + HIDDEN),
    "a chunk size with a space before": _chunked(b" 0\r\n\r\n" + HIDDEN),
    "a chunk size with an underscore": _chunked(b"0_0\r\n\r\n" + HIDDEN),
    "an empty chunk size": _chunked(b"\r\n\r\n" + HIDDEN),
    "a chunk that ends in a bare line feed": _chunked(b"1\nx\r\n0\r\n\r\n" + HIDDEN),
    "a chunk without its end": _chunked(b"1\r\nxy0\r\n\r\n" + HIDDEN),
    "a chunk extension with a bare line feed": _chunked(b"0;x\n\r\n\r\n" + HIDDEN),
    "a chunk extension with a bare carriage return": _chunked(b"0;x\ry\r\n\r\n" + HIDDEN),
    "a last chunk that ends in bare line feeds": _chunked(b"0\n\n" + HIDDEN),
    "a length among the trailers": _chunked(b"0\r\nContent-Length: " + _SIZE + b"\r\n\r\n" + HIDDEN)[:-1],
    "bare line feeds": (POST + b"\r\n").replace(b"\r\n", b"\n") + HIDDEN,
    "bare carriage returns": (POST + b"\r\n").replace(b"\r\n", b"\r") + HIDDEN,
    "a NUL in a name": POST + b"X\0: y\r\n\r\n" + HIDDEN,
    "a NUL in a value": POST + b"X: y\0z\r\n\r\n" + HIDDEN,
    "a name without a colon": POST + b"Transfer-Encoding chunked\r\n\r\n" + HIDDEN,
    "an empty name": POST + b": chunked\r\n\r\n" + HIDDEN,
    "a folded first line": POST[:-2] + b"\r\n folded\r\n\r\n" + HIDDEN,
    "two hosts": POST + b"Host: y\r\n\r\n" + HIDDEN,
    "no host": b"POST /open HTTP/1.1\r\n\r\n" + HIDDEN,
    "an address with a space": b"POST /open /smuggled HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "an address with a NUL": b"POST /open\0 HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "an address with a tab": b"POST\t/open\tHTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "a version of two digits": b"POST /open HTTP/1.10\r\nHost: x\r\n\r\n" + HIDDEN,
    "version 2": b"POST /open HTTP/2.0\r\nHost: x\r\n\r\n" + HIDDEN,
    "version 0.9": b"GET /open\r\n\r\n" + HIDDEN,
    "a method with a space before": b" POST /open HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
}  # fmt: skip

# What has one reading: these requests, in this order.
PLAIN: Mapping[str, tuple[bytes, tuple[tuple[str, str, bytes], ...]]] = {
    "two in a row": (POST + b"Content-Length: 2\r\n\r\nab" + HIDDEN, (("POST", "/open", b"ab"), SMUGGLED)),
    "chunks": (_chunked(b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n") + HIDDEN, (("POST", "/open", b"abc"), SMUGGLED)),
    "a request as a body": (POST + b"Content-Length: " + _SIZE + b"\r\n\r\n" + HIDDEN, (("POST", "/open", HIDDEN),)),
    "a body of a GET": (OPEN[:-2] + b"Content-Length: " + _SIZE + b"\r\n\r\n" + HIDDEN, (("GET", "/open", HIDDEN),)),
    "HTTP/1.0 closes behind itself": (b"GET /open HTTP/1.0\r\n\r\n" + HIDDEN, (("GET", "/open", b""),)),
    "an address with its host": (b"GET http://x/open HTTP/1.1\r\nHost: x\r\n\r\n", (("GET", "/open", b""),)),
}


@dataclass(slots=True)
class Recorder:
    """An application that notes what reaches it, and answers 200."""

    seen: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # half a request is none
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def served(app: ASGIApp, parser: str) -> Iterator[tuple[str, int]]:
    """Serve as the gateway does, or with `h11` where httptools has no build, in a thread; the address."""
    rules, counts = EdgeRules(), EdgeCounts()
    config = config_of(app, rules, counts, {}, drain_s=1)
    config.lifespan = "off"
    if parser != OURS:
        config.http = parser
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def send(address: tuple[str, int], raw: bytes, *, cuts: Sequence[int] = (), quiet_s: float = QUIET_S) -> bytes:
    """Everything the server says to these bytes until it closes, or is silent. They come in pieces, if they are cut."""
    said = b""
    with socket.create_connection(address, timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in pairwise((0, *cuts, len(raw))):
            with suppress(ConnectionError):  # it has closed behind what came first
                connection.sendall(raw[start:end])
            time.sleep(0.01 if cuts else 0)
        connection.settimeout(quiet_s)
        try:
            while piece := connection.recv(65_536):
                said += piece
        except (TimeoutError, ConnectionError):
            pass
    return said


def reading(address: tuple[str, int], recorder: Recorder, raw: bytes) -> tuple[list[tuple[str, str, bytes]], bytes]:
    """What reached the application, and what was said."""
    recorder.seen.clear()
    said = send(address, raw)
    return list(recorder.seen), said
