"""The bytes of a request, seen beside the parser: for whoever wants to know it again by them."""

from dataclasses import dataclass, field

from starlette.types import Scope

from gateway.express.reading import MOST_BYTES, Known, known_as

EXTENSION = "twicetold.express"  # of an ASGI scope: its `Wire`


@dataclass(slots=True)
class Wire:
    """One request as it came. What follows it in one piece is in here, too: whoever reads it has to look."""

    raw: bytes = field(repr=False)  # empty: too long to be known
    is_whole: bool = False  # it came to its end, and its connection goes on

    def add(self, data: bytes) -> None:
        """More of it."""
        if self.raw:
            self.raw = self.raw + data if len(self.raw) + len(data) <= MOST_BYTES else b""


def known_of(scope: Scope, body: bytes) -> Known | None:
    """What the request of an ASGI scope is known by; None where its bytes were not seen, or are not plain."""
    wire = (scope.get("extensions") or {}).get(EXTENSION)
    if not isinstance(wire, Wire) or not wire.is_whole or not wire.raw or scope["http_version"] != "1.1":
        return None
    query = scope["query_string"]
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    return known_as(wire.raw, scope["method"].encode("ascii"), target, scope["headers"], body)


def forget_wire(scope: Scope) -> None:
    """Let go of the bytes of a request that nobody will want to know again."""
    wire = (scope.get("extensions") or {}).get(EXTENSION)
    if isinstance(wire, Wire):
        wire.raw = b""
