"""What was trained, kept on disk: a start with many rows puts them into lists without training again.

    <folder>/<digest of the partition's name>.lists     blake2b of the rest, then safetensors: centroids, encoder,
                                                        digests of ids and the list of each; embedder and generation
                                                        as metadata

No vectors are kept: those come from the store, which is the truth, at every start. An id that the store no longer has
is passed over, one that is new is given a list, and where fewer than half are known the lists are trained anew. A file
that is damaged, or belongs to another embedder or format, is as good as none, and is deleted.
"""

import json
import logging
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embeddings.index.building import Known
from embeddings.index.lists import Trained

log = logging.getLogger(__name__)

FORMAT = "lists2"
DIGEST_BYTES = 32
END = ".lists"


class Seals(Protocol):
    """Keeps a file from being read. What does not open is a ValueError."""

    def seal(self, plain: bytes, place: bytes) -> bytes: ...

    def open(self, sealed: bytes, place: bytes) -> bytes: ...


class Snapshots:
    """Training of large partitions under `folder`, for one embedder. Writing is done by the thread that trained."""

    def __init__(self, folder: Path, fingerprint: str, dim: int, seal: "Seals | None" = None) -> None:
        self._seal = seal
        self._folder = folder
        self._fingerprint = fingerprint
        self._dim = dim

    def read(self) -> dict[bytes, Known]:
        """What fits this embedder, by partition."""
        found: dict[bytes, Known] = {}
        if not self._folder.is_dir():
            return found
        for path in sorted(self._folder.iterdir()):
            if path.suffix == END:
                try:
                    name, known = self._parse(self._opened(path))
                except (OSError, ValueError, KeyError, SafetensorError) as error:
                    log.warning("lists of a partition are made anew, %s is of no use: %s", path.name, error)
                    _unlink(path)
                    continue
                found[name] = known
        return found

    def drop(self, name: bytes) -> None:
        """Forget a partition that has no lists any more."""
        _unlink(self._path(name))

    def write(self, name: bytes, trained: Trained, ids: NDArray[np.uint64], lists: NDArray[np.int32]) -> None:
        """Keep what was trained, in the place of an older generation. A failure is told and forgotten."""
        try:
            self._write(name, trained, ids, lists)
        except OSError as error:
            log.warning("what the lists of a partition were trained to is not kept: %s", error)

    def _write(self, name: bytes, trained: Trained, ids: NDArray[np.uint64], lists: NDArray[np.int32]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(name)
        body = self._dump(name, trained, ids, lists, self._generation(path) + 1)
        if self._seal is not None:
            body = self._seal.seal(body, _place(path))
        half = path.with_suffix(".half")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def _path(self, name: bytes) -> Path:
        return self._folder / (blake2b(name, digest_size=16).hexdigest() + END)

    def _opened(self, path: Path) -> bytes:
        raw = path.read_bytes()
        return raw if self._seal is None else self._seal.open(raw, _place(path))

    def _generation(self, path: Path) -> int:
        try:
            return int(_opened(self._opened(path))[0]["generation"])
        except (OSError, ValueError, KeyError):
            return 0

    def _dump(
        self, name: bytes, trained: Trained, ids: NDArray[np.uint64], lists: NDArray[np.int32],
        generation: int,
    ) -> bytes:  # fmt: skip
        order = np.argsort(ids, kind="stable")
        meta = {
            "format": FORMAT, "embedder": self._fingerprint, "partition": name.hex(), "generation": str(generation),
            "trained": json.dumps([trained.num_probes, trained.num_rows, trained.imbalance]),
        }  # fmt: skip
        body: bytes = save(
            {
                "centroids": trained.centroids,
                "encoder": trained.encoder,
                "lists": lists[order],
                "ids": ids[order],
            },
            meta,
        )
        return blake2b(body, digest_size=DIGEST_BYTES).digest() + body

    def _parse(self, raw: bytes) -> tuple[bytes, Known]:
        meta, body = _opened(raw)
        if meta.get("format") != FORMAT or meta.get("embedder") != self._fingerprint:
            raise ValueError("it is of another format or embedder")
        arrays = load(body)
        num_probes, num_rows, imbalance = json.loads(meta["trained"])
        centroids, encoder = arrays["centroids"], arrays["encoder"]
        if centroids.shape[1:] != (self._dim,) or encoder.shape != (2 * self._dim,):
            raise ValueError(f"it holds centroids of shape {centroids.shape}")
        ids, lists = arrays["ids"], arrays["lists"]
        if ids.shape != lists.shape or (ids[1:] < ids[:-1]).any():
            raise ValueError("it holds ids in no order")
        if len(lists) and not -1 <= lists.min() <= lists.max() < len(centroids):
            raise ValueError("it names a list that is not there")
        trained = Trained(centroids, encoder, num_probes, num_rows, imbalance)
        return bytes.fromhex(meta["partition"]), Known(trained, ids, lists)


def _place(path: Path) -> bytes:
    return b"index lists " + path.stem.encode()


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _opened(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Metadata and body of a file that is whole. Raises `ValueError`."""
    digest, body = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
        raise ValueError("it is damaged")
    size = int.from_bytes(body[:8], "little")
    meta: dict[str, str] = json.loads(body[8 : 8 + size])["__metadata__"]
    return meta, body
