"""Server-sent events out of bytes, however they are cut. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `name` is empty where the server gave none."""

    name: str
    data: str


class EventDecoder:
    """Feed it bytes as they come; it gives the events that are whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, content: bytes) -> Iterator[Event]:
        """The events that end in `content`."""
        lines = (self._rest + content).splitlines(keepends=True)
        self._rest = b""
        if lines and (not lines[-1].endswith((b"\n", b"\r")) or lines[-1].endswith(b"\r")):
            self._rest = lines.pop()  # its end, or the second half of its end, is still to come
        for line in lines:
            if (event := self._line(line.rstrip(b"\r\n").decode("utf-8", "replace"))) is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None  # comments, ids and retry times say nothing to us
