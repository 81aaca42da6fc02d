"""Server-sent events without I/O: bytes in, `data` payloads out."""

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """One event is larger than the reader is willing to hold."""


class EventDecoder:
    """Cuts a byte stream into the payloads of its events; where the stream was cut into chunks does not matter.

    Lines end with LF, CRLF or CR. Comments (": ping"), names, ids and events without data are dropped. Payloads stay
    bytes, so a character cut in two by a chunk is whole again before anyone decodes it.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()  # the last line, not ended yet
        self._data: list[bytes] = []  # the data lines of the event being read
        self._event_bytes = 0  # its whole lines, comments too
        self._ended_with_cr = False  # then an LF that opens the next chunk belongs to that line end
        self._is_first_line = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes; yield the payloads they complete. Exhaust it before the next call."""
        if self._ended_with_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._ended_with_cr = False
        if not chunk:
            return
        if self._is_first_line and len(chunk) >= len(_BOM) and not self._line:
            chunk = chunk.removeprefix(_BOM)
            self._is_first_line = False
        if b"\r" in chunk or self._line or self._event_bytes or self._is_first_line:
            yield from self._feed_lines(chunk)
            return
        *events, rest = chunk.split(b"\n\n")
        for event in events:  # nearly all are one line of data
            if event.startswith(b"data: ") and b"\n" not in event:
                if len(event) > self._max_event_bytes:
                    self._check(len(event))
                yield event[6:]
            else:
                yield from self._feed_lines(event + b"\n\n")
        if rest:
            yield from self._feed_lines(rest)

    def _feed_lines(self, chunk: bytes) -> Iterator[bytes]:
        self._ended_with_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()  # bytes split on LF, CRLF and CR only
        rest = b"" if chunk[-1:] in b"\r\n" else lines.pop()
        if lines:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
            for line in lines:
                yield from self._take(line)
        self._line += rest
        self._check(len(self._line))

    def end(self) -> Iterator[bytes]:
        """Say that no byte follows; yield the last event when its blank line was left out."""
        yield from self._take(bytes(self._line))
        self._line.clear()
        yield from self._take(b"")

    def _take(self, line: bytes) -> Iterator[bytes]:
        self._check(len(line))
        self._event_bytes += len(line)
        if self._is_first_line:
            line = line.removeprefix(_BOM)
            self._is_first_line = False
        if not line:
            if self._data:
                yield b"\n".join(self._data)
            self._data = []
            self._event_bytes = 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))

    def _check(self, more_bytes: int) -> None:
        if self._event_bytes + more_bytes > self._max_event_bytes:
            raise EventTooLarge(f"an event has more than {self._max_event_bytes} bytes")
