"""What sentence-transformers says of a model, written down in a process of its own: the gateway's never loads torch.

python -m embeddings.runtime.witness FOLDER DIGEST OUT     FOLDER "" is the model that comes by pip
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from embeddings.base import EmbedderError, Reading
from embeddings.runtime.agreement import TEXTS
from embeddings.runtime.records import file_of, known_readings, record

TIMEOUT_S = 600


def witnessed(folder: Path, digest: str, records: Path) -> list[Reading]:
    """The reference's readings for a model: kept, or asked for now, which takes seconds. Raises `EmbedderError`."""
    with suppress(EmbedderError):  # damaged, or of another version: asked for anew
        if (known := known_readings(digest, records)) is not None:
            return known
    command = [sys.executable, "-m", "embeddings.runtime.witness", str(folder), digest, str(records / file_of(digest))]
    try:
        records.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603  (ourselves)
            command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EmbedderError(f"sentence-transformers could not be asked: {exc}") from exc
    if done.returncode:
        raise EmbedderError(f"sentence-transformers could not be asked: {done.stderr.strip()[-300:]}")
    if (known := known_readings(digest, records)) is None:
        raise EmbedderError("sentence-transformers was asked and said nothing")
    return known


def main(folder: str, digest: str, out: str) -> None:
    """Ask, and write."""
    from embeddings.local import SentenceTransformerEmbedder

    reference = SentenceTransformerEmbedder(folder or None, threads=1).load()
    if reference.weights != digest:
        raise EmbedderError(f"sentence-transformers reads other weights or another vocabulary: {reference.weights}")
    path = Path(out)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_bytes(record(reference.read(TEXTS), digest))
    beside.replace(path)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except EmbedderError as exc:
        sys.exit(str(exc))
