"""`twicetold export` and `import`: stored answers to a file, and from a file into a gateway.

An export is written to FILE.part and gets its name when it is whole; what was cut off goes on after its last whole
line. An import notes in FILE.progress how far it is. Nothing is lost by doing either twice: the same entry is the same.
"""

import argparse
import contextlib
import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import orjson

from gateway.cli.client import ATTEMPTS, PASSING, PAUSE_S, Admin, Failed, Refused, add_json, add_server, admin, said
from gateway.cli.files import Damaged, appending, can_write, lines_of, reading, whole_lines
from gateway.cli.progress import Progress
from gateway.cli.screen import complain, dump, note, say
from gateway.settings import SettingsError

EXPORT_NOTES = """One line is one answer: request, answer, tenant, model, namespace, tags, ages, hits, verdicts;
aliases behind their originals. No vectors: they are made anew. It is written to `FILE.part`
(readable by its owner alone) and gets its name when it is whole; after a break the same command
goes on behind the last whole line. What is answered or replaced while it runs is in it, too. The
file holds what people asked: keep it like the data folder.
"""
IMPORT_NOTES = """Keys are made anew from tenant, model, namespace and request under this gateway's secret, so no
line puts an answer where another tenant finds it. Names of tenants mean something among gateways of one secret only: of
others, say whose the answers are to be (`--map OLD=NEW`, `--into TENANT`, `twicetold keys tenant` tells a
name). What was asked under a `cache_salt` can go home only. A line that is wrong is told with its number and
field, and the rest goes on; `--rejected FILE` keeps such lines. Ages and ends stay as they were: what is over
is left out. How far it is stands in `FILE.progress`, so the same command goes on after a break; doing it twice
changes nothing.
"""
LINES = "application/x-ndjson"
CHUNK_LINES, CHUNK_BYTES = 500, 2**20
SHOWN = 20  # complaints about lines, one by one
COUNTS = ("lines", "imported", "kept", "expired", "failed")
CRITERIA = ("tenant", "model", "namespace", "tag")


def add_export(verbs: Any) -> None:
    verb = verbs.add_parser(
        "export",
        help="write stored answers to a file of JSON lines",
        epilog=EXPORT_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("file", metavar="FILE", help="NAME.jsonl, NAME.jsonl.gz or NAME.jsonl.zst; - for standard output")
    for name, about in (
        ("tenant", "of this tenant, by the name the admin API shows"),
        ("model", "of this model"),
        ("namespace", "of this namespace"),
        ("tag", "with this tag"),
    ):
        verb.add_argument(f"--{name}", metavar=name.upper(), help=about)
    verb.add_argument("--restart", action="store_true", help="begin anew instead of going on with FILE.part")
    add_json(verb)
    add_server(verb)
    verb.set_defaults(run=_export)


def add_import(verbs: Any) -> None:
    verb = verbs.add_parser(
        "import",
        help="take in the answers of an export, and say what is wrong with which line",
        epilog=IMPORT_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("file", metavar="FILE", help="what export wrote, packed or not; - for standard input")
    verb.add_argument(
        "--map", metavar="OLD=NEW", action="append", default=[], help="whose the answers of tenant OLD are to be"
    )
    verb.add_argument("--into", metavar="TENANT", help="whose all answers are to be")
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


# -- export ----------------------------------------------------------------------------------------------------------


@dataclass
class Written:
    """What a file has so far."""

    header: bytes = b""
    cursor: str | None = None
    entries: int = 0
    skipped: int = 0
    is_whole: bool = False

    def note(self, raw: bytes) -> bool:
        """Take account of a line; whether it belongs into the file."""
        line = orjson.loads(raw)
        kind = line.get("kind")
        if kind == "error":
            raise Failed(f"the gateway broke off: {line['error']['message']}")
        if kind == "end":
            self.skipped += line["skipped"]
            self.is_whole = True
            return False
        if kind == "header":
            is_first = not self.header
            if not is_first and _home(raw) != _home(self.header):
                raise SettingsError("FILE.part is of another gateway; --restart begins anew")
            self.header = self.header or raw
            return is_first
        self.cursor = line["cursor"]
        self.entries += 1
        return True


def _export(args: argparse.Namespace) -> int:
    asked = {name: value for name in CRITERIA if (value := getattr(args, name)) is not None}
    written = Written()
    with admin(args, timeout_s=120.0) as gateway, Progress("exported", None) as progress:
        if args.file == "-":
            _fetch(gateway, asked, written, sys.stdout.buffer, progress)
            sys.stdout.buffer.write(_end(written))
        else:
            _export_to(args.file, gateway, asked, written, progress, restart=args.restart)
    answer = {"object": "cache.export", "file": args.file, "entries": written.entries, "skipped": written.skipped}
    gone = f"; {written.skipped} went meanwhile, or could not be read" if written.skipped else ""
    text = f"{written.entries} answers are in {args.file}{gone}"
    if args.file == "-":
        note(orjson.dumps(answer).decode() if args.json else text)
    elif args.json:
        dump(answer)
    else:
        say(text)
    return 0


def _export_to(
    name: str, gateway: Admin, asked: dict[str, str], written: Written, progress: Progress, *, restart: bool
) -> None:
    can_write(name)
    part, wishes = Path(name + ".part"), Path(name + ".part.json")
    try:
        if restart or not part.exists():
            part.unlink(missing_ok=True)
            wishes.write_bytes(orjson.dumps(asked))
        elif not wishes.exists() or orjson.loads(wishes.read_bytes()) != asked:
            raise SettingsError(f"{part} was begun with other criteria; --restart begins anew")
        else:
            _salvage(part, name, written)
            progress.at(written.entries)
        part.touch(0o600)
        with appending(part, name) as file:
            _fetch(gateway, asked, written, file, progress)
            file.write(_end(written))
        part.replace(name)
        wishes.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{name} cannot be written: {error.strerror or error}") from error


def _salvage(part: Path, like: str, written: Written) -> None:
    """Keep the whole lines of what was cut off, in a file that can be written on."""
    draft = part.with_name(part.name + ".new")
    draft.unlink(missing_ok=True)
    draft.touch(0o600)
    with appending(draft, like) as file:
        for raw in whole_lines(part, like):
            if not written.note(raw):
                break
            file.write(raw)
    written.is_whole = False
    draft.replace(part)


def _fetch(gateway: Admin, asked: dict[str, str], written: Written, file: BinaryIO, progress: Progress) -> None:
    """All lines that are still to come; a connection that breaks is opened anew as long as that helps."""
    failures = 0
    while not written.is_whole:
        before = written.entries
        try:
            for raw in _streamed(gateway, asked, written.cursor):
                if written.note(raw):
                    file.write(raw)
                    progress.at(written.entries)
        except (Failed, httpx.HTTPError, ValueError) as error:
            failures = 1 if written.entries > before else failures + 1
            is_final = isinstance(error, Refused) and error.status not in PASSING
            if failures >= ATTEMPTS or is_final or not written.header:
                goes_on = f"; the same command goes on after {written.entries} answers" if written.entries else ""
                raise Failed(f"{error}{goes_on}") from error
            time.sleep(PAUSE_S * 2**failures)


def _streamed(gateway: Admin, asked: dict[str, str], cursor: str | None) -> Iterator[bytes]:
    """Whole lines, as they come."""
    params = asked if cursor is None else {**asked, "after": cursor}
    try:
        with gateway.client.stream("GET", "export", params=params) as response:
            if response.is_error:
                response.read()
                raise gateway.refusal(response.status_code, _json(response))
            rest = b""
            for some in response.iter_bytes():
                *lines, rest = (rest + some).split(b"\n")
                yield from (line + b"\n" for line in lines)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failed(f"no gateway answers at {gateway.url}: {said(error)}") from error
    if rest:
        raise Failed("the gateway broke off in the middle of a line")


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def _end(written: Written) -> bytes:
    return orjson.dumps({"kind": "end", "entries": written.entries, "skipped": written.skipped}) + b"\n"


def _home(header: bytes) -> Any:
    return orjson.loads(header).get("home")


# -- import ----------------------------------------------------------------------------------------------------------


@dataclass
class Account:
    """What became of the lines so far."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: list[dict[str, Any]] = field(default_factory=list)
    line: int = 0  # the last one that is done with
    has_end: bool = False


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
        try:
            for chunk in _chunks(file, account, progress):
                _send(gateway, chunk, wishes, account, rejects, args)
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
            f"{counts['imported']} answers {did}, {counts['kept']} there already,"
            f" {counts['expired']} over, {counts['failed']} lines wrong"
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


def _send(
    gateway: Admin,
    chunk: Chunk,
    wishes: dict[str, Any],
    account: Account,
    rejects: BinaryIO | None,
    args: argparse.Namespace,
) -> None:
    """Have a chunk taken in; one that is too large for the gateway goes in halves."""
    params = {**wishes, "first": str(chunk.first)}
    body = b"\n".join(chunk.lines)
    try:
        told = gateway.insist("POST", "import", params=params, content=body, headers={"content-type": LINES})
    except Refused as refused:
        if refused.status != 413:
            raise Failed(f"{refused}; {account.line} lines are done") from refused
        if len(chunk.lines) > 1:
            half = len(chunk.lines) // 2
            for first, lines in ((chunk.first, chunk.lines[:half]), (chunk.first + half, chunk.lines[half:])):
                _send(gateway, Chunk(first, lines), wishes, account, rejects, args)
            return
        told = {
            **dict.fromkeys(("imported", "kept", "expired"), 0),
            "lines": 1,
            "failed": 1,
            "errors": [{"line": chunk.first, "field": None, "message": str(refused), "code": "too_large"}],
        }
    except Failed as failed:
        raise Failed(f"{failed}; {account.line} lines are done, the same command goes on") from failed
    for error in told["errors"]:
        if rejects is not None:
            rejects.write(chunk.lines[error["line"] - chunk.first] + b"\n")
        if not args.json and len(account.errors) < SHOWN:
            where = f" {error['field']}:" if error["field"] and error["field"] not in error["message"] else ""
            note(f"{args.file}, line {error['line']}:{where} {error['message']}")
        account.errors.append(error)
    account.counts.update({name: told[name] for name in COUNTS})


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
