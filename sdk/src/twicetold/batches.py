"""Lines of an export, as many at a time as fit a request. No I/O."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

BATCH_BYTES = 512 * 1024
BATCH_LINES = 500

Line: TypeAlias = Mapping[str, Any] | str | bytes


def batches(lines: Iterable[Line]) -> Iterator[tuple[int, bytes]]:
    """Lines joined, each batch with the number of its first line, counted from 1."""
    first, batch, size = 1, list[bytes](), 0
    for number, line in enumerate(lines, start=1):
        raw = _raw(line)
        if batch and (size + len(raw) > BATCH_BYTES or len(batch) >= BATCH_LINES):
            yield first, b"\n".join(batch)
            first, batch, size = number, [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        yield first, b"\n".join(batch)


def _raw(line: Line) -> bytes:
    if isinstance(line, Mapping):
        return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return (line.encode() if isinstance(line, str) else line).strip()
