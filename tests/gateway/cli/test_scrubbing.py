"""Lines out of exports: whose, which aliases, and what is not an export at all."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.scrubbing import Whose, files_of, scrub
from gateway.settings import SettingsError

HEADER = {"kind": "header", "format": "twicetold-answers", "version": 1, "home": "h", "made_s": 1.0}


def entry(tenant: str, text: str, *tags: str, original: str = "", **more: Any) -> dict[str, Any]:
    line = {"kind": "entry", "tenant": tenant, "model": "m", "request": _request(text), "tags": list(tags), **more}
    return {**line, "original": _request(original)} if original else line


def _request(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def told(path: Path) -> list[str]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = map(json.loads, raw.splitlines())
    return [line["request"]["messages"][0]["content"] for line in lines if line["kind"] == "entry"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize(
    ("whose", "staying"),
    [
        (Whose("a", None), ["of b", "of b under x", "like that of b"]),
        (Whose(None, "x"), ["of a", "of b", "like that of a"]),
        (Whose("b", "x"), ["of a", "of a under x", "of b", "like that of a"]),
    ],
)
def test_what_is_meant_goes_and_its_aliases_with_it(
    tmp_path: Path, name: str, whose: Whose, staying: list[str]
) -> None:
    lines = [
        entry("a", "of a"),
        entry("a", "of a under x", "x"),
        entry("b", "of b"),
        entry("b", "of b under x", "x", "y"),
        entry("a", "like that of a", original="of a"),
        entry("b", "like that of b", original="of b under x"),
    ]
    file = written(tmp_path / name, HEADER, *lines, {"kind": "end", "entries": 6, "skipped": 2})
    done = scrub(file, whose, dry_run=False)

    assert told(file) == staying
    assert (done.removed, done.kept, done.unreadable) == (6 - len(staying), len(staying), 0)


@pytest.mark.parametrize(
    "line",
    ["", "{", "null", "7", '{"kind": 7}', '{"kind": "entry", "tags": "x", "request": {}}', "\x00", '"Quetzal"'],
)
def test_what_nobody_can_read_goes_too(tmp_path: Path, line: str) -> None:
    file = written(tmp_path / "a.jsonl", HEADER, line, entry("b", "kept"))
    done = scrub(file, Whose("a", None), dry_run=False)

    assert (done.unreadable, done.removed, told(file)) == (1, 0, ["kept"])


def test_a_packed_file_that_breaks_off_keeps_what_can_be_read(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl.gz", HEADER, *(entry("ab"[n % 2], f"{n} {n * 7919}") for n in range(3000)))
    file.write_bytes(file.read_bytes()[:-2000])
    done = scrub(file, Whose("a", None), dry_run=False)

    assert done.unreadable in (1, 2)
    assert done.kept > 1000
    assert all(int(text.split()[0]) % 2 for text in told(file))


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in (HEADER, entry("a", "goes"), entry("b", "stays"))))
    scrub(file, Whose("a", None), dry_run=False)

    assert told(file) == ["stays"]


def test_requests_of_any_depth_are_told_apart(tmp_path: Path) -> None:
    deep = json.dumps(entry("b", "deep")).replace('"m"', "[" * 400 + "]" * 400, 1)
    file = written(tmp_path / "a.jsonl", HEADER, deep, entry("a", "goes"))

    assert scrub(file, Whose("a", None), dry_run=False).removed == 1
    assert told(file) == ["deep"]


def test_a_dry_run_counts_and_leaves_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", HEADER, entry("a", "one"), entry("a", "two"), "broken")
    before = file.read_bytes()
    done = scrub(file, Whose("a", None), dry_run=True)

    assert (done.removed, done.unreadable) == (2, 1)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_everything_that_lies_around_an_export_is_found(tmp_path: Path) -> None:
    name = tmp_path / "a.jsonl"
    for end in (".part", ".part.new"):
        written(tmp_path / f"a.jsonl{end}", HEADER)

    assert [path.name for path in files_of([str(name)])] == ["a.jsonl.part", "a.jsonl.part.new"]
    with pytest.raises(SettingsError, match=r"b\.jsonl"):
        files_of([str(tmp_path / "b.jsonl")])


def test_where_it_cannot_be_written_the_file_stays_as_it_was(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", HEADER, entry("a", "one"))
    before = file.read_bytes()
    (tmp_path / "a.jsonl.erasing").mkdir()
    done = scrub(file, Whose("a", None), dry_run=False)

    assert "cannot be written anew" in done.failed
    assert done.removed == 0
    assert file.read_bytes() == before
