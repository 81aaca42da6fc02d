"""Lines of an export, as many at a time as fit a request. No I/O."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from twicetold.writing import dump, several

BATCH_BYTES = 512 * 1024
BATCH_LINES = 500

Line: TypeAlias = Mapping[str, Any] | str | bytes


def batches(lines: Iterable[Line]) -> Iterator[tuple[int, bytes]]:
    """Lines joined, each batch with the number of its first line, counted from 1."""
    first, batch, size = 1, list[bytes](), 0
    for number, line in enumerate(several("lines", "an open file or a list of lines", lines), start=1):
        raw = dump(line) if isinstance(line, Mapping) else _raw(line)
        if batch and (size + len(raw) > BATCH_BYTES or len(batch) >= BATCH_LINES):
            yield first, b"\n".join(batch)
            first, batch, size = number, [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        yield first, b"\n".join(batch)


def _raw(line: str | bytes) -> bytes:
    return (line.encode() if isinstance(line, str) else line).strip()
