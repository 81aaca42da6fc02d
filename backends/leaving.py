"""How a request to an upstream is left at any moment without a connection being lost.

httpcore must not be cancelled while it makes a connection, nor while it closes a response: the connection is then
neither idle nor over for it, and takes one of so many places until the process ends. (Seen: a third of 512 places gone
after ten busy minutes with deadlines; then every request waits for a place in vain.) So its work is done in tasks of
its own, which are cancelled where they may be, and otherwise finish behind the back of whoever left.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


class Line:
    """One request and its response. Belongs to one event loop."""

    def __init__(self, endings: "set[asyncio.Task[None]]") -> None:
        self.is_reused = True  # the connection had been used before
        self.ending: asyncio.Task[None] | None = None  # of a request that was left
        self._endings = endings
        self._may_cancel = asyncio.Event()
        self._may_cancel.set()

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        """httpcore says what it is about to do."""
        if event.startswith("connection.connect"):
            self.is_reused = False
            self._may_cancel.clear()
        elif event.endswith("send_request_headers.started"):
            self._may_cancel.set()
        elif event.endswith("response_closed.started"):
            self._may_cancel.clear()

    async def kept(self, work: Awaitable[T], response: httpx.Response | None = None) -> T:
        """What `work` returns. Whoever is cancelled while it waits has left the whole request."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self.ending is None:
                self.ending = asyncio.ensure_future(self._end(task, response))
                self._endings.add(self.ending)
                self.ending.add_done_callback(self._endings.discard)
            raise

    async def _end(self, task: "asyncio.Future[Any]", response: httpx.Response | None) -> None:
        """Let `task` get to where it can be cancelled, or to its end; then close the response, if there is one."""
        leaving = asyncio.ensure_future(self._may_cancel.wait())
        both: list[asyncio.Future[Any]] = [task, leaving]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if self._may_cancel.is_set():
            task.cancel()
        leaving.cancel()
        await asyncio.wait([task])
        found = None if task.cancelled() or task.exception() is not None else task.result()
        response = found if isinstance(found, httpx.Response) else response
        if response is not None:
            with suppress(httpx.HTTPError, OSError):
                await response.aclose()
