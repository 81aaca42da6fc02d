"""Pages under names that are none of ours, kept from a server that asks for no key.

A server for this machine only is reached by every browser on it, and so by a page whose own name was made to resolve to
this machine (DNS rebinding): to the browser that page and this server are one site. But the browser says the name it
knows: in Host, and in Origin. Who is no browser sends neither Origin nor Sec-Fetch-Site, and calls us as he likes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.callers.auth import hostname
from gateway.edge.words import Say, send_whole, shape_of
from gateway.errors import StrangePage
from gateway.headers import NamedHeaders
from gateway.settings.doors import is_loopback

_OF_PAGES = (b"origin", b"sec-fetch-site")  # who sends neither is no browser


def is_strange(headers: Mapping[str, str], hosts: frozenset[str]) -> bool:
    """Whether a page sent it that has neither a name of this machine nor one of `hosts`."""
    origin = headers.get("origin")
    if origin is None and headers.get("sec-fetch-site") is None:
        return False
    scheme, _, rest = (origin or "").partition("://")
    named = [headers.get("host"), *([rest] if scheme in ("http", "https") else [])]
    return not all(is_loopback(name) or name in hosts for name in map(hostname, named))


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Refuses what such a page sends."""

    app: ASGIApp
    hosts: tuple[str, ...] = ()
    shapes: Mapping[str, Say] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._refuses(scope):
            await send_whole(send, StrangePage(), shape_of(scope["path"], self.shapes))
            return
        await self.app(scope, receive, send)

    def _refuses(self, scope: Scope) -> bool:
        for name, _ in scope["headers"]:
            if name in _OF_PAGES:
                return is_strange(NamedHeaders(scope["headers"]), frozenset(map(hostname, self.hosts)))
        return False
