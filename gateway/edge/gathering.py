"""Writes of one turn of the loop as one: what is told in pieces that are there together costs one call of the system.

    write write write | the loop's next turn, the end of an answer, or too much of it -> one write

Nothing waits for more to come: a piece that is alone goes out as soon as whoever wrote it waits for something.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

MOST_BYTES = 64 * 2**10  # held back; it is also what a transport takes before it asks to wait


class Gathering(asyncio.Transport):
    """A transport in front of another. Belongs to one event loop."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0
        self._is_due = False
        # what is asked for every piece, or every request, goes past this object
        self.is_closing = inner.is_closing  # type: ignore[method-assign]
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]
        self.pause_reading = inner.pause_reading  # type: ignore[method-assign]
        self.resume_reading = inner.resume_reading  # type: ignore[method-assign]
        self.is_reading = inner.is_reading  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write it soon, behind what was written before."""
        if not data:
            return
        self._held.append(bytes(data))
        self._size += len(data)
        if self._size > MOST_BYTES:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_now(self, data: bytes) -> None:
        """Write it at once, behind what was written before."""
        self.flush()
        self._inner.write(data)

    def flush(self) -> None:
        """Write what is held back; to a connection that is being closed nothing can be said."""
        if self._held:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held.clear()
            self._size = 0
            if not self._inner.is_closing():
                self._inner.write(data)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()

    def can_write_eof(self) -> bool:
        return self._inner.can_write_eof()

    def write_eof(self) -> None:
        self.flush()
        self._inner.write_eof()

    def close(self) -> None:
        """Close it behind what was written."""
        self.flush()
        self._inner.close()

    def abort(self) -> None:
        self._held.clear()
        self._inner.abort()

    def get_write_buffer_size(self) -> int:
        return self._size + self._inner.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._inner.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._inner.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._inner.get_protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)
