"""A request that two servers could take for different ones is refused, and its connection ends with it.

The HTTP parser refuses most of them by itself: two lengths, a length and chunks, folded lines, bare line feeds
(httptools does; h11, which takes its place where it has no build, lets some of these by). What is left is seen here, in
what the parser says it has read. RFC 9112, 3.2 (one Host), 6.1 (codings), 6.3 (lengths), 2.3 (versions).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.callers.auth import CREDENTIALS
from gateway.edge.words import send_whole
from gateway.errors import InvalidRequest

VERSIONS = ("1.0", "1.1", "2", "3")  # as ASGI spells them: 2 and 3 come by another server, which has framed them
# Who takes the first of two and a proxy that takes the last would know the same request as of two different callers.
ONCE = frozenset((*map(str.encode, CREDENTIALS), b"content-type", b"origin", b"sec-fetch-site", b"x-twicetold-csrf"))


@dataclass(frozen=True, slots=True)
class OneReading:
    """Lets in what has one reading."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wrong := misframed(scope["http_version"], scope["headers"])):
            await send_whole(send, InvalidRequest(wrong), is_last=True)
            return
        await self.app(scope, receive, send)


def misframed(version: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Why a request could be taken for another one; empty for most."""
    hosts = lengths = 0
    codings: list[bytes] = []
    seen: set[bytes] = set()
    for name, value in headers:
        if name in ONCE:
            if name in seen:
                return f"A request has one {name.decode()}."
            seen.add(name)
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            lengths += 1
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return "A body comes uncompressed: Content-Encoding is not taken."
    if version not in VERSIONS:
        return "This server speaks HTTP/1.1."
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "A request names one Host."
    if lengths > 1:
        return "A request has one Content-Length."
    if codings and (lengths or version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked"):
        return "A request has a Content-Length, or comes in chunks and in no other coding."
    return ""
