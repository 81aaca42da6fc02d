"""Files that operators hand over, row by row: JSON lines or tables, gzipped or not. Errors name file, line, field."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


class FileError(Exception):
    """A file cannot be used; the message names it, the line and the field."""


@contextmanager
def reading(path: Path) -> Iterator[TextIO]:
    """The text of a file. Raises `FileError`."""
    try:
        with path.open("rb") as file:
            is_zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="utf-8") if is_zipped else path.open(encoding="utf-8") as text:
            yield text
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}") from error


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a file of JSON lines, and where it stands. Raises `FileError`."""
    with reading(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise FileError(f"{where}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise FileError(f"{where}: not an object")
            yield where, row


def table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every row of a tab-separated file with a header, and where it stands. Raises `FileError`."""
    with reading(path) as lines:
        header: list[str] = []
        for number, line in enumerate(lines, start=1):
            cells = line.rstrip("\r\n").split("\t")
            where = f"{path}, line {number}"
            if not header:
                header = cells
                missing = [name for name in columns if name not in header]
                if missing:
                    raise FileError(f"{where}: the header has no column {missing[0]}; it has {', '.join(header)}")
            elif len(cells) != len(header):
                raise FileError(f"{where}: {len(cells)} columns, and the header has {len(header)}")
            else:
                yield where, dict(zip(header, cells, strict=True))
