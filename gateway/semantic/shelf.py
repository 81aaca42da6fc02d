"""The verifiers of a data directory: one folder for each lane, one file for each version, the old ones kept.

    verifiers/<lane>/0003-812-1f2e3d4c.safetensors     the third fit, on labels up to number 812, for that embedder
    verifiers/all/0001-0-1f2e3d4c.safetensors          by `twicetold calibrate PAIRS`: for lanes without their own
    verifiers/<lane>/chosen                            the name of one to use instead of the newest, or "shipped"

A lane's folder is named by a digest: tenants' names are nobody's business. A file that is damaged, or was fitted for
another embedder, is passed over for the one before it.
"""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from embeddings.base import EmbedderError
from embeddings.verifier import Verifier, dump, load_verifier, parse
from embeddings.verifier.shipped import family_of
from gateway.answers.base import CacheError
from gateway.semantic.rule import LaneKey

log = logging.getLogger(__name__)

KEPT = 5  # versions of one lane
SHIPPED = "shipped"


@dataclass(frozen=True, slots=True)
class Version:
    """A verifier on the shelf."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.stem.split("-")[0])

    @property
    def until_seq(self) -> int:
        """The newest label it was fitted on."""
        return int(self.path.stem.split("-")[1])

    def is_for(self, fingerprint: str) -> bool:
        """Whether it was fitted on readings of this embedder."""
        return self.path.stem.split("-")[2] == _short(fingerprint)


@dataclass(frozen=True, slots=True)
class InUse:
    """The verifier of a lane, and the newest label it has seen."""

    verifier: Verifier
    name: str  # of its version, or "shipped"
    until_seq: int = 0


class Shelf:
    """Verifiers under `folder`. Any thread may read; one writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def in_use(self, lane: LaneKey, fingerprint: str) -> InUse:
        """The lane's own, else everybody's, else the shipped one."""
        for folder in (self._of(lane), self._folder / "all"):
            if (found := self._newest(folder, fingerprint)) is not None:
                return found
        return InUse(load_verifier(fingerprint), SHIPPED)

    def _newest(self, folder: Path, fingerprint: str) -> InUse | None:
        """The one that was chosen, else the newest that can be read."""
        chosen = _chosen(folder)
        for version in reversed(list(_versions(folder))):
            if not version.is_for(fingerprint) or chosen not in (None, version.path.stem):
                continue
            if (verifier := _read(version)) is not None:
                return InUse(verifier, version.path.stem, version.until_seq)
        return None

    def minds(self, lane: LaneKey, fingerprint: str) -> tuple[Verifier, Verifier | None]:
        """Everybody's verifier, and the lane's own if it has one."""
        everybodys = self._newest(self._folder / "all", fingerprint)
        own = self._newest(self._of(lane), fingerprint)
        first = load_verifier(fingerprint) if everybodys is None else everybodys.verifier
        return first, None if own is None else own.verifier

    def versions(self, lane: LaneKey) -> list[str]:
        """The names of a lane's versions, oldest first."""
        return [version.path.stem for version in _versions(self._of(lane))]

    def put(self, lane: LaneKey | None, raw: bytes, fingerprint: str, until_seq: int = 0) -> Path:
        """Keep a verifier as the newest of a lane, or of everybody, and use it. Raises `CacheError`."""
        folder = self._folder / "all" if lane is None else self._of(lane)
        versions = list(_versions(folder))
        number = versions[-1].number + 1 if versions else 1
        path = folder / f"{number:04d}-{until_seq}-{_short(fingerprint)}.safetensors"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            half = path.with_suffix(".half")
            half.touch(0o600)
            half.write_bytes(raw)
            half.rename(path)
            (folder / "chosen").unlink(missing_ok=True)
            for old in versions[: max(0, len(versions) + 1 - KEPT)]:
                old.path.unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"{path} cannot be written: {error}") from error
        return path

    def erase(self, lane: LaneKey) -> int:
        """Delete every version of a lane's verifier; how many there were. Raises `CacheError`."""
        folder = self._of(lane)
        count = len(list(_versions(folder)))
        try:
            if folder.is_dir():
                shutil.rmtree(folder)
        except OSError as error:
            raise CacheError(f"{folder} cannot be deleted: {error}") from error
        return count

    def choose(self, lane: LaneKey, name: str) -> bool:
        """Use a version by its name, or "shipped"; False when there is none of that name."""
        if name != SHIPPED and name not in self.versions(lane):
            return False
        folder = self._of(lane)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "chosen").write_text(name, "utf-8")
        return True

    def _of(self, lane: LaneKey) -> Path:
        return self._folder / blake2b("\0".join(lane).encode("utf-8", "replace"), digest_size=12).hexdigest()


def _chosen(folder: Path) -> str | None:
    try:
        return (folder / "chosen").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _versions(folder: Path) -> Iterator[Version]:
    for path in sorted(folder.glob("*-*-*.safetensors")):
        number, seq, *rest = path.stem.split("-")
        if number.isdigit() and seq.isdigit() and len(rest) == 1:
            yield Version(path)


def _read(version: Version) -> Verifier | None:
    try:
        return parse(version.path.read_bytes())
    except (EmbedderError, OSError) as error:
        log.error("%s is not used: %s", version.path, error)
        return None


def _short(fingerprint: str) -> str:
    """Embedders whose readings are equal have the same."""
    return blake2b((family_of(fingerprint) or fingerprint).encode(), digest_size=4).hexdigest()


def shipped(fingerprint: str) -> bytes:
    """What every fit begins from."""
    return dump(load_verifier(fingerprint))
