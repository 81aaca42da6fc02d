"""How the edge says no: a whole response in the error shape of the path, from the status line down or as ASGI."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

import orjson
from starlette.types import Send

from backends.chat import Fields
from gateway.errors import GatewayError, describe, retry_headers

Say = Callable[[int, Fields], Fields]  # an OpenAI error body as a shape has it
Header = tuple[bytes, bytes]


def whole(error: GatewayError, say: Say | None = None) -> tuple[int, list[Header], bytes]:
    """Status, headers and body."""
    status, body = describe(error)
    said = orjson.dumps(body if say is None else say(status, body), default=dict)
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(said)).encode("ascii"))]
    return status, [*own, *retry_headers(error)], said


def on_the_wire(error: GatewayError, say: Say | None = None) -> bytes:
    """The response as bytes; the connection ends behind it."""
    status, headers, body = whole(error, say)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode("ascii")]
    lines += [name + b": " + value for name, value in (*headers, (b"connection", b"close"))]
    return b"\r\n".join([*lines, b"", body])


async def send_whole(send: Send, error: GatewayError, say: Say | None = None, *, is_last: bool = False) -> None:
    """Answer a request with `error`; the last one of its connection says so."""
    status, headers, body = whole(error, say)
    if is_last:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def shape_of(path: str, shapes: Mapping[str, Say]) -> Say | None:
    """How errors are told on a path: as the shape of the route it belongs to has them."""
    return next((say for route, say in shapes.items() if path == route or path.startswith(f"{route}/")), None)
