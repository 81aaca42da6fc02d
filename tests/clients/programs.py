"""Programs that people are shown: the files of examples/, and what stands between fences in pages of docs/.

An example says what it prints, indented behind a line "Prints:" at its head. In a page, a `text` block right behind a
program is what that prints. The address in a program is that of the gateway under test, its key is one of its own.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.clients.clients import (
    NEWEST_CLIENTS,
    PYTHON_CLIENTS,
    ROOT,
    WITHIN_S,
    Client,
    Outcome,
    Told,
    environment,
    node_folder,
    node_missing,
    outcomes,
)

ADDRESS = "http://127.0.0.1:8420"
CLIENTS = {client.name: client for client in (*PYTHON_CLIENTS, *NEWEST_CLIENTS)}
HOSTS = {  # whoever has imported the heavy part of a program
    "anthropic": "python-anthropic_sdk",
    "langchain_openai": "python-langchain_chat",
    "litellm": "python-litellm_client",
    "llama_index": "python-llama_index_llm",
}
KINDS = {".py": "python", ".mjs": "js", ".sh": "bash"}


@dataclass(frozen=True)
class Program:
    """What is run, and what it prints if that was told."""

    name: str
    kind: str  # python, js, bash, or ours: Python in the gateway's own environment
    code: str
    prints: str | None

    @property
    def client(self) -> Client | None:
        """In whose process it runs, if not in one of its own."""
        if self.kind == "ours":
            return CLIENTS["newest-openai_sdk"]
        if self.kind != "python":
            return None
        imported = re.findall(r"^(?:import|from) (\w+)", self.code, re.MULTILINE)
        return CLIENTS[next((HOSTS[name] for name in imported if name in HOSTS), "python-openai_sdk")]

    @property
    def missing(self) -> str | None:
        """Why it cannot run here."""
        if self.client is not None:
            return self.client.missing
        return node_missing() if self.kind == "js" else None

    def against(self, url: str) -> str:
        """The program as a reader runs it, of a gateway elsewhere, as a caller nobody else is."""
        key = "sk-" + re.sub(r"\W", "-", self.name)
        code = self.code.replace(ADDRESS, url).replace('"any"', f'"{key}"').replace("Bearer any", f"Bearer {key}")
        if self.kind != "bash":
            return code
        command = f'twicetold() {{ "{sys.executable}" -m gateway "$@" --url {url}; }}'
        return "\n".join(("set -eu", command, code.replace(".venv/bin/twicetold", "twicetold")))


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


def behind(client: Client, programs: Iterable[Program], url: str) -> tuple[Told, ...]:
    """The programs that run in the process of this client."""
    return tuple(Told(each.name, each.against(url)) for each in programs if each.client == client)


def outcome(program: Program, programs: Iterable[Program], url: str, folder: Path) -> Outcome:
    """What comes of a program, which runs once."""
    if program.client is not None:
        return outcomes(program.client, url, folder, behind(program.client, programs, url))[program.name]
    return _alone(program, url, folder)


@cache
def _alone(program: Program, url: str, folder: Path) -> Outcome:
    if program.kind == "bash":
        command, folder = ["bash", "-c", program.against(url)], ROOT
    else:
        folder = node_folder(folder)
        script = folder / (re.sub(r"\W", "-", program.name) + ".mjs")
        script.write_text(program.against(url), "utf-8")
        command = ["node", script.name]
    done = subprocess.run(
        command, env=environment(url, ""), cwd=folder, capture_output=True, text=True, timeout=WITHIN_S
    )
    return Outcome(done.stderr if done.returncode else None, done.stdout)
