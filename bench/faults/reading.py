"""A client that reads a stream as real ones do, or badly: slowly, or not to the end."""

import asyncio
import json
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class How:
    """How it went for the client."""

    kind: Literal["complete", "error", "left", "bad"]
    detail: str = ""


async def read_stream(url: str, path: str, body: bytes, *, pause_s: float, leave_after_s: float | None) -> How:
    """Ask over a connection of its own and read the stream: with pauses, or until it has had enough."""
    parts = urlsplit(url)
    head = f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    try:
        # a small window: who reads slowly is felt by the server
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
    except OSError as error:
        return How("bad", f"cannot connect: {error}")
    try:
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(PATIENCE_S if leave_after_s is None else leave_after_s):
            said = await _read(reader, pause_s)
    except TimeoutError:
        return How("left") if leave_after_s is not None else How("bad", f"nothing whole within {PATIENCE_S:g} s")
    except OSError as error:
        return How("bad", f"{type(error).__name__}: {error}")
    finally:
        writer.transport.abort()
    return _judged(said)


async def _read(reader: asyncio.StreamReader, pause_s: float) -> bytes:
    said = bytearray()
    while piece := await reader.read(512 if pause_s else 65_536):
        said += piece
        if pause_s:
            await asyncio.sleep(pause_s)
    return bytes(said)


def _judged(said: bytes) -> How:
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
