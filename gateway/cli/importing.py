"""`twicetold import`: from a file into a gateway.

FILE.progress tells how far it is. Nothing is lost by doing it twice: the same entry is the same.
"""

import argparse
import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gateway.cli.client import Admin, Failed, Refused, add_json, add_server, admin, tenant_name
from gateway.cli.files import Damaged, lines_of, reading
from gateway.cli.progress import Progress
from gateway.cli.screen import complain, counted, dump, note, say
from gateway.settings import SettingsError

NOTES = """Keys are made anew from tenant, model, namespace and request under this gateway's secret, so no
line puts an answer where another tenant finds it. Names of tenants mean something among gateways of one secret only: of
others, say which tenant here gets the answers (`--map OLD=NEW`, `--into TENANT`; `twicetold keys tenant` tells
a tenant's name). What was asked under a `cache_salt` can go home only. A line that is wrong is told with its number and
field, and the rest goes on; `--rejected FILE` keeps such lines. Ages and ends stay as they were: expired
answers are left out. How far it is stands in `FILE.progress`, so the same command goes on after a break; doing it
twice changes nothing.
"""
LINES = "application/x-ndjson"
CHUNK_LINES, CHUNK_BYTES = 500, 2**20
SHOWN = 20  # complaints about lines, one by one
COUNTS = ("lines", "imported", "kept", "expired", "failed")


def add_import(verbs: Any) -> None:
    verb = verbs.add_parser(
        "import",
        help="take in the answers of an export, and say what is wrong with which line",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("file", metavar="FILE", help="what export wrote, packed or not; - for standard input")
    verb.add_argument(
        "--map",
        type=_mapped,
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="give the answers of tenant OLD to tenant NEW; repeatable",
    )
    verb.add_argument("--into", type=tenant_name, metavar="TENANT", help="give all answers to this tenant")
    verb.add_argument(
        "--on-conflict",
        choices=("newer", "replace", "keep"),
        default="newer",
        help="where there is an answer already: the newer one stays (the default), the file's, or the one that is here",
    )
    verb.add_argument("--rejected", type=Path, metavar="FILE", help="write the lines that were not taken to this file")
    verb.add_argument("--dry-run", action="store_true", help="only say what would become of every line")
    verb.add_argument("--restart", action="store_true", help="begin with the first line instead of where it was left")
    add_json(verb)
    add_server(verb)
    verb.set_defaults(run=_import)


@dataclass
class Account:
    """What became of the lines so far."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: list[dict[str, Any]] = field(default_factory=list)
    line: int = 0  # the last one that is done with
    has_end: bool = False


def _mapped(text: str) -> str:
    """OLD=NEW, as the gateway takes it."""
    old, equals, new = text.partition("=")
    if not old or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} must be OLD=NEW, two tenants")
    return f"{old}={tenant_name(new)}"


@dataclass(frozen=True)
class Chunk:
    """Lines that go together; `first` is the number of the first."""

    first: int
    lines: list[bytes]


def _import(args: argparse.Namespace) -> int:
    wishes = {"on_conflict": args.on_conflict, "map": args.map, **({"into": args.into} if args.into else {})}
    if args.dry_run:
        wishes["dry_run"] = "true"
    track = None if args.file == "-" or args.dry_run else Track(args, wishes)
    account = Account() if track is None or args.restart else track.recall()
    damage = None
    with (
        admin(args, timeout_s=300.0) as gateway,
        reading(args.file) as file,
        Progress("imported", _size(args.file)) as progress,
        _rejects(args.rejected) as rejects,
    ):
        taking = Taking(gateway, wishes, account, rejects, args.file, is_quiet=args.json)
        try:
            for chunk in _chunks(file, account, progress):
                taking.send(chunk)
                account.line = chunk.first + len(chunk.lines) - 1
                if track is not None:
                    track.keep(account)
        except Damaged as error:
            damage = f"{args.file} cannot be read after line {account.line}: {error}"
    if track is not None:
        track.forget()
    if damage is None and not account.has_end:
        damage = f"{args.file} has no last line: its export was cut off, and what follows is not in it"
    return _summed(args, account, damage)


def _summed(args: argparse.Namespace, account: Account, damage: str | None) -> int:
    counts = account.counts
    if damage is not None:
        complain(damage)
    if len(account.errors) > SHOWN and not args.json:
        note(f"... and {len(account.errors) - SHOWN} more lines that were not taken")
    answer = {
        "object": "cache.import",
        "dry_run": args.dry_run,
        **{name: counts[name] for name in COUNTS},
        "is_whole": damage is None,
        "errors": account.errors,
    }
    if args.json:
        dump(answer)
    else:
        did = "would be taken in" if args.dry_run else "taken in"
        say(
            f"{counted(counts['imported'], 'answer')} {did}, {counts['kept']} there already,"
            f" {counts['expired']} expired, {counted(counts['failed'], 'line')} wrong"
        )
    return 3 if counts["failed"] or damage is not None else 0


def _chunks(file: BinaryIO, account: Account, progress: Progress) -> Iterator[Chunk]:
    """What is still to be sent, some lines at a time. Raises `Damaged` behind the last line that could be read."""
    lines: list[bytes] = []
    size, number, read_bytes = 0, 0, 0
    trouble: Damaged | None = None
    source = lines_of(file)
    while True:
        try:
            raw = next(source, None)
        except Damaged as error:
            raw, trouble = None, error
        if raw is None:
            break
        number += 1
        read_bytes += len(raw)
        progress.at(read_bytes)
        account.has_end = raw.startswith(b'{"kind":"end"')
        if number <= account.line:
            continue
        lines.append(raw.rstrip(b"\r\n"))
        size += len(raw)
        if len(lines) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield Chunk(number - len(lines) + 1, lines)
            lines, size = [], 0
    if lines:
        yield Chunk(number - len(lines) + 1, lines)
    if trouble is not None:
        raise trouble


@dataclass(frozen=True)
class Taking:
    """The lines of one file on their way into a gateway."""

    gateway: Admin
    wishes: dict[str, Any]
    account: Account
    rejects: BinaryIO | None
    name: str  # of the file
    is_quiet: bool  # complaints are told in the account only

    def send(self, chunk: Chunk) -> None:
        """Have a chunk taken in; one that is too large for the gateway goes in halves."""
        params = {**self.wishes, "first": str(chunk.first)}
        body = b"\n".join(chunk.lines)
        try:
            told = self.gateway.insist("POST", "import", params=params, content=body, headers={"content-type": LINES})
        except Refused as refused:
            if refused.status != 413:
                raise Failed(f"{refused}; {self.account.line} lines are done") from refused
            if len(chunk.lines) > 1:
                half = len(chunk.lines) // 2
                for first, lines in ((chunk.first, chunk.lines[:half]), (chunk.first + half, chunk.lines[half:])):
                    self.send(Chunk(first, lines))
                return
            told = {
                **dict.fromkeys(("imported", "kept", "expired"), 0),
                "lines": 1,
                "failed": 1,
                "errors": [{"line": chunk.first, "field": None, "message": str(refused), "code": "too_large"}],
            }
        except Failed as failed:
            raise Failed(f"{failed}; {self.account.line} lines are done, the same command goes on") from failed
        for error in told["errors"]:
            if self.rejects is not None:
                self.rejects.write(chunk.lines[error["line"] - chunk.first] + b"\n")
            if not self.is_quiet and len(self.account.errors) < SHOWN:
                where = f" {error['field']}:" if error["field"] and error["field"] not in error["message"] else ""
                note(f"{self.name}, line {error['line']}:{where} {error['message']}")
            self.account.errors.append(error)
        self.account.counts.update({name: told[name] for name in COUNTS})


class Track:
    """How far an import of one file into one gateway is, kept beside the file."""

    def __init__(self, args: argparse.Namespace, wishes: dict[str, Any]) -> None:
        self._path = Path(args.file + ".progress")
        try:
            stat = Path(args.file).stat()
        except OSError as error:
            raise SettingsError(f"{args.file} cannot be read: {error.strerror}") from error
        said = orjson.dumps([args.url, wishes, stat.st_size, stat.st_mtime_ns])
        self._name = hashlib.blake2b(said, digest_size=16).hexdigest()

    def recall(self) -> Account:
        """Where the same import was left; the beginning where there was none."""
        try:
            kept = orjson.loads(self._path.read_bytes())
            if kept["of"] == self._name:
                return Account(Counter(kept["counts"]), kept["errors"], kept["line"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return Account()

    def keep(self, account: Account) -> None:
        kept = {"of": self._name, "line": account.line, "counts": account.counts, "errors": account.errors}
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # of a folder that is read only: then it begins anew, and loses nothing
            draft.write_bytes(orjson.dumps(kept))
            draft.replace(self._path)

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def _rejects(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    try:
        with path.open("ab") as file:
            yield file
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _size(source: str) -> int | None:
    """How many bytes of lines there are, where that is known."""
    return None if source == "-" or source.endswith((".gz", ".zst")) else Path(source).stat().st_size
