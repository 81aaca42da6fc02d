"""`twicetold erase --export FILE`: the lines of a tenant, or under a tag, out of files that `twicetold export` wrote.

The file is written anew beside itself, line by line, and takes its own name when that is whole. A line that nobody can
read goes, too: nobody can say whose words are in it.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from gateway.cli.files import Damaged, appending, lines_of, packing, reading
from gateway.settings import SettingsError

LEFTOVERS = ("", ".part", ".part.new")  # behind FILE: whole, cut off, and what going on after that cut left behind


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose lines: a tenant's, what wears a tag, or what does of one tenant's."""

    tenant: str | None
    tag: str | None

    def means(self, line: dict[str, Any]) -> bool:
        """Whether an entry's line is meant by itself."""
        return self.tenant in (None, line.get("tenant")) and (self.tag is None or self.tag in line.get("tags", ()))


@dataclass(slots=True)
class Scrubbed:
    """What was taken out of a file, or would be."""

    file: str
    removed: int = 0
    unreadable: int = 0
    kept: int = 0
    failed: str = ""  # why it is as it was


def files_of(names: list[str]) -> list[Path]:
    """What there is of exports of these names. Raises `SettingsError` for one that there is nothing of."""
    found = []
    for name in names:
        mine = [path for end in LEFTOVERS if (path := Path(name + end)).is_file()]
        if not mine:
            raise SettingsError(f"--export {name}: there is no such file, nor {name}.part")
        for path in mine:
            packing(path)  # raises where that needs a package
        found += mine
    return found


def scrub(path: Path, whose: Whose, *, dry_run: bool) -> Scrubbed:
    """Take such lines out of a file. One that cannot be read or written anew stays as it was."""
    done = Scrubbed(str(path))
    try:
        if dry_run:
            for _ in _staying(path, whose, done):
                pass
        else:
            _write_anew(path, whose, done)
    except SettingsError as error:
        return Scrubbed(str(path), failed=str(error))
    except OSError as error:
        return Scrubbed(str(path), failed=f"{path} cannot be written anew: {error.strerror or error}")
    return done


def _write_anew(path: Path, whose: Whose, done: Scrubbed) -> None:
    draft = path.with_name(path.name + ".erasing")
    draft.unlink(missing_ok=True)
    draft.touch(0o600)
    try:
        draft.chmod(stat.S_IMODE(path.stat().st_mode))
        with appending(draft, packing(path)) as file:
            for raw in _staying(path, whose, done):
                file.write(raw)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _staying(path: Path, whose: Whose, done: Scrubbed) -> Iterator[bytes]:
    """The lines that stay. An alias goes with the answer it stands for, which lies before it."""
    gone: set[bytes] = set()
    for raw in _lines(path, done):
        line = _read(raw)
        if line is None:
            done.unreadable += 1
        elif line["kind"] == "end":
            yield orjson.dumps({**line, "entries": done.kept}) + b"\n"
        elif line["kind"] != "entry":
            yield raw
        elif whose.means(line) or _place(line, line.get("original")) in gone:
            gone.add(_place(line, line.get("request")))
            done.removed += 1
        else:
            done.kept += 1
            yield raw


def _lines(path: Path, done: Scrubbed) -> Iterator[bytes]:
    """Every line with its end, also the last one; what lies behind a damage is one that nobody can read."""
    with reading(str(path)) as file:
        try:
            for raw in lines_of(file):
                yield raw if raw.endswith(b"\n") else raw + b"\n"
        except Damaged:
            done.unreadable += 1


def _read(raw: bytes) -> dict[str, Any] | None:
    try:
        line = orjson.loads(raw)
    except ValueError:
        return None
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        return None
    return line if isinstance(line.get("tags", []), list) else None


def _place(line: dict[str, Any], request: Any) -> bytes:
    """Names where a request lies, as far as a line says it."""
    scope = [line.get(name) for name in ("tenant", "model", "revision", "namespace", "salted")]
    return blake2b(json.dumps([*scope, request], sort_keys=True).encode("utf-8", "replace"), digest_size=16).digest()
