"""Reading a request body, and noticing that its sender has gone or that the server stops. Plain ASGI."""

import asyncio
from collections.abc import Coroutine
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
        self._out: set[_Errand] = set()

    def draw_near(self) -> None:
        """Let what would never end by itself end, while answers go on."""
        self.is_near = True

    def come(self) -> None:
        """End everything that is out, and whatever begins from now on."""
        self.is_near = self.has_come = True
        for errand in self._out:
            errand.end(_stopping())

    async def watch(self, errand: "_Errand", work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, unless it is ended before. Raises `Stopping` after the curfew."""
        if self.has_come:
            work.close()
            raise _stopping()
        self._out.add(errand)
        try:
            return await work
        finally:
            self._out.discard(errand)


def _stopping() -> Stopping:
    return Stopping("The server is being stopped; ask again when it is back.")


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


class _Errand:
    """Work that a task does for a caller, and its end when nobody waits for it any more.

    Who has left is looked for from the moment that the work waits for something, which most stored answers never do:
    the task and the wait that this takes cost as much as such an answer.
    """

    __slots__ = ("_ends", "_error", "_is_over", "_leaving", "_num_cancelled", "_receive", "_soon", "_task")

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self._receive = receive
        self._task = task
        self._error: Exception | None = None  # why it was ended
        self._ends = 0  # so often
        self._num_cancelled = task.cancelling()  # before, by others
        self._is_over = False
        self._leaving: asyncio.Task[None] | None = None
        self._soon = asyncio.get_running_loop().call_soon(self._look)

    @property
    def error(self) -> Exception | None:
        """Why it was ended; None when somebody else cancelled it, too."""
        is_ours = self._task.cancelling() <= self._num_cancelled + self._ends
        return self._error if is_ours else None

    def end(self, error: Exception) -> None:
        """Cancel it: the first reason counts."""
        self._error = self._error or error
        self._ends += 1
        self._task.cancel()

    def close(self) -> None:
        """Look no more. The task goes on as if it had not been cancelled."""
        self._is_over = True
        self._error = None  # it was raised where this errand is known: a cycle, which only a collection would free
        self._soon.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
        for _ in range(self._ends):
            self._task.uncancel()

    def _look(self) -> None:
        self._leaving = asyncio.ensure_future(_disconnected(self._receive))
        self._leaving.add_done_callback(self._left)

    def _left(self, leaving: "asyncio.Task[None]") -> None:
        if not leaving.cancelled():
            leaving.exception()  # whoever cannot be heard is gone as well
            if not self._is_over:
                self.end(ClientGone())


async def while_connected(receive: Receive, curfew: Curfew, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled, and has let go of everything, when nobody waits for it any more.

    Raises `ClientGone` when the caller has left, `Stopping` at the curfew.
    """
    task = asyncio.current_task()
    assert task is not None
    errand = _Errand(receive, task)
    try:
        return await curfew.watch(errand, work)
    except asyncio.CancelledError:
        if errand.error is None:
            raise
        raise errand.error from None
    finally:
        errand.close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
