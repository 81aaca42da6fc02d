"""A client that reads a stream as real ones do, or badly: slowly, or not to the end."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

PATIENCE_S = 300.0
AT_HAND_S = 0.05  # what has come already is read within this
SLOWLY_BYTES = 512  # at a time


@dataclass(frozen=True, slots=True)
class How:
    """How it went for the client."""

    kind: Literal["complete", "error", "left", "bad"]
    detail: str = ""
    has_all: bool = True  # False: who left had not come to the end of it


@dataclass(slots=True)
class Streams:
    """Those that are open: from the first bytes of an answer until it ends, or whoever reads it leaves."""

    now: int = 0
    slow: int = 0  # of them, those that are read slowly

    @contextmanager
    def one(self, *, is_slow: bool) -> Iterator[None]:
        self.now += 1
        self.slow += is_slow
        try:
            yield
        finally:
            self.now -= 1
            self.slow -= is_slow


async def read_stream(
    url: str, path: str, body: bytes, *, pause_s: float, leave_after_s: float | None, streams: Streams
) -> How:
    """Ask over a connection of its own and read the stream: with pauses, or until it has had enough."""
    parts = urlsplit(url)
    head = f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    try:
        # a small window: who reads slowly is felt by the server
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
    except OSError as error:
        return How("bad", f"cannot connect: {error}")
    said = bytearray()
    try:
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(PATIENCE_S if leave_after_s is None else leave_after_s):
            await _read(reader, said, pause_s, streams)
    except TimeoutError:
        if leave_after_s is None:
            return How("bad", f"nothing whole within {PATIENCE_S:g} s")
        await _read_at_hand(reader, said)
        return How("left", has_all=judged(bytes(said)).kind != "bad")
    except OSError as error:
        return How("bad", f"{type(error).__name__}: {error}")
    finally:
        writer.transport.abort()
    return judged(bytes(said))


async def _read(reader: asyncio.StreamReader, said: bytearray, pause_s: float, streams: Streams) -> None:
    most = SLOWLY_BYTES if pause_s else 65_536
    piece = await reader.read(most)
    with streams.one(is_slow=pause_s > 0):
        while piece:
            said += piece
            if pause_s:
                await asyncio.sleep(pause_s)
            piece = await reader.read(most)


async def _read_at_hand(reader: asyncio.StreamReader, said: bytearray) -> None:
    """Who leaves looks at what is there: a short answer is told whole long before a slow reader is through with it."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(AT_HAND_S):
            while piece := await reader.read(65_536):
                said += piece


def judged(said: bytes) -> How:
    """What came of all that was read."""
    status = said[9:12]
    if status != b"200":
        return How("error", status.decode("ascii", "replace")) if b'"error"' in said else How("bad", repr(said[:200]))
    datas = [line[6:].strip() for line in said.split(b"\n") if line.startswith(b"data: ")]
    if any(data.startswith(b'{"error"') for data in datas):
        return How("error", "in the stream")
    if not datas or datas[-1] != b"[DONE]":
        return How("bad", f"a stream without an end: {said[-200:]!r}")
    words = [choice["delta"].get("content") for data in datas[:-1] for choice in json.loads(data)["choices"]]
    return How("complete") if any(words) else How("bad", "an answer without words")
