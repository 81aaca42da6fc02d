"""`twicetold export`: stored answers to a file.

It is written to FILE.part and gets its name when it is whole; what was cut off goes on after its last whole line.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from gateway.cli.client import ATTEMPTS, PASSING, PAUSE_S, Admin, Failed, Refused, add_json, add_server, admin, said
from gateway.cli.files import appending, can_write, whole_lines
from gateway.cli.progress import Progress
from gateway.cli.screen import counted, dump, note, say
from gateway.settings import SettingsError

if TYPE_CHECKING:
    import httpx

NOTES = """One line is one answer: request, answer, tenant, model, namespace, tags, ages, hits, verdicts;
aliases behind their originals. No vectors: they are made anew. It is written to `FILE.part`
(readable by its owner alone) and gets its name when it is whole; after a break the same command
goes on behind the last whole line. What is answered or replaced while it runs is in it, too. The
file holds what people asked: keep it like the data folder.
"""
FILES = "NAME.jsonl or NAME.jsonl.gz; NAME.jsonl.zst where Python has zstd (pip install zstandard); - for stdout"
CRITERIA = ("tenant", "model", "namespace", "tag")


def add_export(verbs: Any) -> None:
    verb = verbs.add_parser(
        "export",
        help="write stored answers to a file of JSON lines",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("file", metavar="FILE", help=FILES)
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
    text = f"{counted(written.entries, 'answer')} in {args.file}{gone}"
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
    import httpx

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
                goes_on = (
                    f"; the same command goes on after {counted(written.entries, 'answer')}" if written.entries else ""
                )
                raise Failed(f"{error}{goes_on}") from error
            time.sleep(PAUSE_S * 2**failures)


def _streamed(gateway: Admin, asked: dict[str, str], cursor: str | None) -> Iterator[bytes]:
    """Whole lines, as they come."""
    import httpx

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


def _json(response: "httpx.Response") -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def _end(written: Written) -> bytes:
    return orjson.dumps({"kind": "end", "entries": written.entries, "skipped": written.skipped}) + b"\n"


def _home(header: bytes) -> Any:
    return orjson.loads(header).get("home")
