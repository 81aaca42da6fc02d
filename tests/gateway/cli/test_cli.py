"""The command line as a whole: its page, its completions, its exit statuses, its colours."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main, make_parser
from gateway.cli.bench import checkout
from gateway.cli.checkup import Finding
from gateway.cli.completion import bash, fish, verbs_of, zsh
from gateway.cli.doctor import show
from gateway.cli.reference import markdown
from gateway.cli.stats import render
from gateway.cli.terminal import Screen
from gateway.settings import SettingsError

ROOT = Path(__file__).parents[3]


def test_the_page_of_commands_is_what_the_parser_says() -> None:
    assert (ROOT / "docs/cli.md").read_text("utf-8") == markdown(make_parser()), "python -m gateway.cli.reference"


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
    for command in (
        ["stats", "--json"],
        ["export", str(tmp_path / "a.jsonl")],
        ["keys", "list"],
        ["invalidate", "--all"],
    ):
        assert main([*command, *nobody]) == 1
        assert "no gateway answers" in capsys.readouterr().err
    for command in (
        ["warm", *nobody],
        ["warm", str(tmp_path / "none"), *nobody],
        ["import", str(tmp_path / "b"), *nobody],
        ["export", str(tmp_path / "a.txt"), *nobody],
        ["invalidate", "--yes", *nobody],
        ["stats", "--url", "zork"],
        ["stats", "--url", "ftp://gateway"],
    ):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith("twicetold: ")


@pytest.mark.parametrize(
    "command",
    [
        ["import", "a.jsonl", "--map", "a=b"],
        ["import", "a.jsonl", "--map", "anonymous"],
        ["import", "a.jsonl", "--into", "zz"],
        ["keys", "create", "app", "--tenant", "zz"],
        ["keys", "create", ""],
        ["keys", "create", "app", "--expires", "9999999999999999w"],
        ["erase", "--tenant", "*"],
        ["warm", "a.txt", "--tenant", "zz"],
    ],
)
def test_what_is_no_tenant_and_no_name_is_wrong_before_anybody_is_asked(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--url", "http://127.0.0.1:1"])

    assert ended.value.code == 2
    assert "error: argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["completion", "bash"], ["stats", "--url", "http://127.0.0.1:1"], ["keys", "create", ""]]
)
def test_a_reader_that_has_gone_ends_a_command_without_a_trace(words: list[str], tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    trace = tmp_path / "trace"
    program = (
        "import sys, traceback\nfrom gateway.cli import main\n"
        f"try: status = main({words!r})\n"
        f"except BaseException: open({str(trace)!r}, 'w').write(traceback.format_exc()); raise\n"
        "sys.exit(status)"
    )
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    started = [sys.executable, "-c", program]
    ran = subprocess.run(started, stdout=theirs, stderr=theirs, cwd=tmp_path, env=variables, check=False)
    os.close(theirs)

    assert not trace.exists(), trace.read_text()
    assert ran.returncode == 141


def test_bench_runs_the_benchmarks_of_a_clone_and_says_where_there_is_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="clone the repository"):
        checkout(tmp_path)
    for folder in ("bench", "gateway"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "bench" / "__main__.py").write_text("import sys; print(*sys.argv[1:]); sys.exit(1)")
    monkeypatch.chdir(tmp_path)

    assert main(["bench", "exact", "semantic", "--quick"]) == 1
    assert capfd.readouterr().out == "--quick exact semantic\n"
    assert checkout(ROOT) == ROOT


def test_the_table_of_stats_breaks_no_figure_on_a_narrow_screen() -> None:
    tier = {"requests": 123_456, "hit_ratio": 0.25}
    times = {"ttft": {"p50": 0.4536, "p90": 12.5}, "total": {"p50": 0.9999, "p90": 123.45}}
    engine = {"running": 1, "waiting": 0, "kv": {"blocks_cached": 1}, "restarts": 0, "hangs": 1}
    tokens = dict.fromkeys(("saved_prompt", "saved_completion", "prompt", "completion"), 1000)
    stats = {
        "tiers": dict.fromkeys(("exact", "semantic", "kv", "full"), tier),
        "latency": dict.fromkeys(("exact", "semantic", "kv", "full"), times),
        "requests": 493_824, "tokens": tokens, "saved_seconds": 1.0, "money": {"by_model": {}}, "entries": 1,
        "vectors": 1, "errors": 0, "cache_failures": 2, "parts": {"local": "ready"}, "engines": {"demo": engine},
    }  # fmt: skip
    for width in (80, 120):
        screen = Screen(width=width, file=io.StringIO(), highlight=False)
        with screen.capture() as shown:
            screen.print(render(stats, "http://127.0.0.1:8420", width))
        text = shown.get()

        assert max(map(len, text.splitlines())) <= width
        assert text.count("123456") == text.count("453.6 ms") == text.count("123.45 s") == 4
        assert all(whole in text for whole in ("requests", "first token", "1 answer, 1 vector\n", "0 restarts"))


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
