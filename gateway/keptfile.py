"""Small files that are replaced as a whole."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, and for nobody else to read (0600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
