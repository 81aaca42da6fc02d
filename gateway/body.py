"""Reading a request body, and noticing that its sender has gone or that the server stops. Plain ASGI."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Message, Receive

from gateway.errors import BodyTooLarge, Stopping

T = TypeVar("T")

LARGE_BYTES = 65_536  # reading them takes milliseconds


class ClientGone(Exception):
    """The caller left before the answer was complete."""


class Turns:
    """Of large bodies that came together, one is read in each turn of the event loop: between two, others run."""

    def __init__(self) -> None:
        self._next = asyncio.Lock()

    async def wait(self, raw: bytes) -> None:
        """Until `raw` may be read, which is at once where it is small."""
        if len(raw) >= LARGE_BYTES:
            async with self._next:
                await asyncio.sleep(0)


class Curfew:
    """The time at which what still runs has to end. Belongs to one event loop."""

    def __init__(self) -> None:
        self.is_near = False  # the server was told to stop: what has no end of its own ends now
        self.has_come = False
        self._out: set[asyncio.Future[Any]] = set()

    def draw_near(self) -> None:
        """Let what would never end by itself end, while answers go on."""
        self.is_near = True

    def come(self) -> None:
        """End everything that is out, and whatever begins from now on."""
        self.is_near = self.has_come = True
        for work in self._out:
            work.cancel()

    async def watch(self, work: "asyncio.Future[T]", *others: "asyncio.Future[Any]") -> None:
        """Wait until `work` or one of the others is done, or work was cancelled by the curfew."""
        self._out.add(work)
        try:
            if self.has_come:
                work.cancel()
            await asyncio.wait((work, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._out.discard(work)


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


async def while_connected(receive: Receive, curfew: Curfew, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; cancel it, and wait until it has let go of everything, when nobody waits for it any more.

    Raises `ClientGone` when the caller has left, `Stopping` at the curfew.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await curfew.watch(task, gone)
        if not task.done():
            raise ClientGone
        if task.cancelled() and curfew.has_come:
            raise Stopping("The server is being stopped; ask again when it is back.")
        return task.result()
    finally:
        for owned in (gone, task):
            if not owned.done():
                owned.cancel()
                with suppress(asyncio.CancelledError):
                    await owned


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
