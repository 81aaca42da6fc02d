"""The command line as a whole: its page, its completions, its exit statuses, its colours."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main, make_parser
from gateway.cli.checkup import Finding
from gateway.cli.completion import bash, fish, verbs_of, zsh
from gateway.cli.doctor import show
from gateway.cli.reference import markdown

ROOT = Path(__file__).parents[3]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def test_the_page_of_commands_is_what_the_parser_says() -> None:
    assert (ROOT / "docs/cli.md").read_text("utf-8") == markdown(make_parser()), "python -m gateway.cli.reference"


def test_every_command_in_the_documentation_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = 0
    for page in PAGES:
        if page.name in ("decisions.md", "cli.md"):
            continue
        for said in re.findall(r"(?:`|^\$? *)(?:\.venv/bin/)?twicetold ([a-z][^`\n]*)", page.read_text("utf-8"), re.M):
            words = shlex.split(
                re.sub(r"\bN\b", "1", said)
                .partition(" #")[0]
                .split(" > ")[0]
                .split(" | ")[0]
                .split("   ")[0]
                .rstrip("\\ ")
            )
            if len(words) < 2 or "..." in said or "|" in said or "--help" in said:
                continue
            found += 1
            try:
                make_parser().parse_args(words)
            except SystemExit:
                complaint = capsys.readouterr().err
                if "expected one argument" not in complaint:  # a flag that is only spoken of
                    pytest.fail(f"{page.name}: twicetold {said}: {complaint}")
    assert found > 10


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("twicetold ex", {"explain", "export"}),
        ("twicetold keys r", {"rotate", "revoke"}),
        ("twicetold import a --on-conflict ", {"newer", "replace", "keep"}),
        ("twicetold keys create --exp", {"--expires"}),
        ("twicetold completion ", {"bash", "zsh", "fish"}),
        ("twicetold --v", {"--version"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    script = (
        f"{bash(list(verbs_of(make_parser())))}\n"
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; _twicetold\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)

    assert set(ran.stdout.split()) == offered, ran.stderr


def test_zsh_and_fish_are_told_of_every_command_and_flag() -> None:
    verbs = list(verbs_of(make_parser()))
    for script in (zsh(verbs), fish(verbs)):
        for verb in verbs:
            assert all(word in script for word in verb.words)
            assert all(name.lstrip("-") in script for flag in verb.flags for name in flag.names)


def test_statuses_tell_failed_from_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = ("--url", "http://127.0.0.1:1")
    for command in (["stats", "--json"], ["export", str(tmp_path / "a")], ["keys", "list"], ["invalidate", "--all"]):
        assert main([*command, *nobody]) == 1
        assert "no gateway answers" in capsys.readouterr().err
    for command in (
        ["warm", *nobody],
        ["warm", str(tmp_path / "none"), *nobody],
        ["import", str(tmp_path / "b"), *nobody],
    ):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith("twicetold: ")


def test_doctor_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("python", "ok", "3.11"), Finding("port", "bad", "taken", "stop the other")]
    status = show(findings, as_json=True)
    told = json.loads(capsys.readouterr().out)

    assert (status, told["is_well"], told["findings"][1]["mend"]) == (1, False, "stop the other")
    assert show(findings[:1], as_json=True) == 0


def test_colour_is_for_terminals_and_goes_with_no_color(tmp_path: Path) -> None:
    command = ["keys", "revoke", "key_0", "--data-dir", str(tmp_path)]
    program = f"import sys; from gateway.cli import main; sys.exit(main({command!r}))"

    def seen(**environment: str) -> bytes:
        ours, theirs = os.openpty()
        variables = {name: text for name, text in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
        started = [sys.executable, "-c", program]
        subprocess.run(started, env=variables | environment, stdin=theirs, stdout=theirs, stderr=theirs, check=False)
        os.close(theirs)
        said = os.read(ours, 10_000)
        os.close(ours)
        return said

    red = b"\x1b[1;31m"
    assert red in seen()
    assert red not in seen(NO_COLOR="1")
