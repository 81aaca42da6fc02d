"""What pages tell people to type or to open is there: commands, their flags, benchmarks, links, make targets."""

import argparse
import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest

from gateway.cli import make_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "sdk").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
TOLD_BEFORE = {"decisions.md"}  # a diary: it names what was there on its day
COMMAND = re.compile(r"(?:\.venv/bin/)?twicetold( [a-z][^`|#;\n]*)")
UNFINISHED = re.compile(r"\b(?:FIGURES|TODO|TBD|XXX|FIXME)\b")
PLACEHOLDERS = {"RATE": "0.01", "N": "1", "NUMBER": "1"}


def pages() -> list[Path]:
    return [path for path in PAGES if path.name not in TOLD_BEFORE]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands(text: str) -> set[str]:
    """Commands of ours in code: fenced blocks, indented ones, and between backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    code = [*fenced, *re.findall(r"^    .*$", rest, re.MULTILINE), *re.findall(r"`([^`\n]+)`", rest)]
    lines = [line.strip().removeprefix("$ ") for block in code for line in block.replace("\\\n", " ").splitlines()]
    return {found[1].strip() for line in lines if (found := COMMAND.match(line)) and "..." not in line}


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_commands_on_a_page_are_understood(path: Path) -> None:
    parser = make_parser()
    for command in commands(path.read_text("utf-8")):
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command.split(" > ")[0].split(" < ")[0])]
        wrong = complaint(parser, words)
        # a verb or a flag that is only named lacks what it needs; nothing else may be wrong with a command
        is_only_named = (len(words) == 1 and "required" in wrong) or (
            words[-1].startswith("--") and f"argument {words[-1]}: expected one argument" in wrong
        )
        assert not wrong or is_only_named, f"{path.name}: twicetold {command}: {wrong}"


def complaint(parser: argparse.ArgumentParser, words: list[str]) -> str:
    """What the command line says is wrong with it."""
    said = io.StringIO()
    silent = contextlib.redirect_stdout(io.StringIO())
    with contextlib.redirect_stderr(said), silent, contextlib.suppress(SystemExit):
        parser.parse_args(words)
    return said.getvalue()


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_links_on_a_page_lead_to_files(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_benchmarks_and_targets_on_a_page_are_there(path: Path) -> None:
    text = path.read_text("utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert target in targets, f"{path.name}: make {target}"
    for module in re.findall(r"python -m (bench[\w.]*|gateway[\w.]+|backends[\w.]+)", text):
        assert importlib.util.find_spec(module) is not None, f"{path.name}: python -m {module}"
    for suite in re.findall(r"python -m bench ([a-z][\w.]*)", text):
        assert importlib.util.find_spec(f"bench.{suite}") is not None, f"{path.name}: python -m bench {suite}"


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_nothing_on_a_page_waits_to_be_written(path: Path) -> None:
    assert not UNFINISHED.search(path.read_text("utf-8"))
