"""Reading a request body, and noticing that its sender has gone. Plain ASGI."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from starlette.types import Message, Receive

from gateway.errors import BodyTooLarge


class ClientGone(Exception):
    """The caller left before the body was complete."""


async def read_body(receive: Receive, declared: str | None, limit_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge` as soon as that is known, `ClientGone` on a disconnect."""
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {limit_bytes} bytes.")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; cancel it, and wait until it has let go of everything, when the caller leaves."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for owned in (watch, task):
            if not owned.done():
                owned.cancel()
                with suppress(asyncio.CancelledError):
                    await owned


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
