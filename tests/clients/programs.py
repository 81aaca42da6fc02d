"""Programs that people are shown: the files of examples/, and what stands between fences in pages of docs/.

An example says what it prints, indented behind a line "Prints:" at its head. In a page, a `text` block right behind a
program is what that prints. The address in a program is that of the gateway under test, its key is one of its own.
"""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.clients.clients import MODULES, PYTHON, ROOT, WITHIN_S, environment, node_missing, python_missing

ADDRESS = "http://127.0.0.1:8420"
KINDS = {".py": "python", ".mjs": "js", ".sh": "bash"}


@dataclass(frozen=True)
class Program:
    """What is run, and what it prints if that was told."""

    name: str
    kind: str  # python, js, bash, or ours: Python in the gateway's own environment
    code: str
    prints: str | None

    @property
    def missing(self) -> str | None:
        """Why it cannot run here."""
        return {"python": python_missing, "js": node_missing}.get(self.kind, lambda: None)()

    def against(self, url: str) -> str:
        """The program as a reader runs it, of a gateway elsewhere, as a caller nobody else is."""
        key = "sk-" + re.sub(r"\W", "-", self.name)
        code = self.code.replace(ADDRESS, url).replace('"any"', f'"{key}"').replace("Bearer any", f"Bearer {key}")
        if self.kind != "bash":
            return code
        command = f'twicetold() {{ "{sys.executable}" -m gateway "$@" --url {url}; }}'
        return "\n".join(("set -eu", command, code.replace(".venv/bin/twicetold", "twicetold")))


@dataclass(frozen=True)
class Ran:
    """What came of it."""

    printed: str
    error: str | None


def examples() -> list[Program]:
    return [_example(path) for path in sorted((ROOT / "examples").glob("*/*")) if path.suffix in KINDS]


def _example(path: Path) -> Program:
    text = path.read_text("utf-8")
    kind = "ours" if path.parent.name == "sdk" else KINDS[path.suffix]
    found = re.search(r"^(#|//|) ?Prints:\n(?:\1 *\n)((?:\1    .*\n)+)", text, re.MULTILINE)
    assert found is not None, f"{path.name} does not say what it prints"
    prints = textwrap.dedent(re.sub(rf"^{found[1]} ?", "", found[2], flags=re.MULTILINE))
    return Program(f"{path.parent.name}/{path.name}", kind, text, prints)


def page(name: str) -> list[Program]:
    """The programs of a page; their kind is that of their fence. `sdk` in the fence's line: in our own environment."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    fences = re.finditer(r"^```(python|js|bash)( sdk)?\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.M | re.S)
    return [
        Program(f"{name}:{text.count(chr(10), 0, each.start()) + 1}", "ours" if each[2] else each[1], each[3], each[4])
        for each in fences
    ]


@cache
def ran(programs: Sequence[Program], url: str, folder: Path) -> dict[str, Ran]:
    """Run them all, once: all Python of one environment in one process."""
    outcomes: dict[str, Ran] = {}
    for kind, python in (("python", PYTHON), ("ours", Path(sys.executable))):
        outcomes |= _in_one([each for each in programs if each.kind == kind], python, url)
    for program in programs:
        if program.kind == "bash":
            outcomes[program.name] = _run(["bash", "-c", program.against(url)], url, ROOT)
        elif program.kind == "js" and program.missing is None:
            script = folder / (re.sub(r"\W", "-", program.name) + ".mjs")
            script.write_text(program.against(url), "utf-8")
            if not (folder / "node_modules").exists():
                (folder / "node_modules").symlink_to(MODULES)
            outcomes[program.name] = _run(["node", script.name], url, folder)
    return outcomes


def _in_one(programs: list[Program], python: Path, url: str) -> dict[str, Ran]:
    if not programs or not python.exists():
        return {}
    told = json.dumps([{"name": each.name, "code": each.against(url)} for each in programs])
    done = subprocess.run(
        [str(python), str(ROOT / "tests" / "clients" / "python" / "running.py")],
        input=told,
        env=environment(url, "") | {"PYTHONPATH": str(ROOT / "sdk" / "src")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    found = {line["check"]: Ran(line["printed"], line["error"]) for line in lines}
    return {each.name: found.get(each.name, Ran("", f"it did not run: {done.stderr[-4000:]}")) for each in programs}


def _run(command: list[str], url: str, folder: Path) -> Ran:
    done = subprocess.run(
        command, env=environment(url, ""), cwd=folder, capture_output=True, text=True, timeout=WITHIN_S
    )
    return Ran(done.stdout, done.stderr if done.returncode else None)
