"""The clients' own environments, seen from the tests: where they are, what their scripts check, what came of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PYTHON = ROOT / "build" / "clients" / "bin" / "python"
MODULES = ROOT / "build" / "node" / "node_modules"
WITHIN_S = 100.0

QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches one when it is imported
    "LANGSMITH_TRACING": "false",
    "NO_PROXY": "*",
}


@dataclass(frozen=True)
class Client:
    """One script; its checks are read from its text, as nothing it imports is here."""

    name: str
    script: Path
    python: Path = PYTHON

    @property
    def checks(self) -> list[str]:
        pattern = (
            r"^@check\n(?:async )?def (\w+)" if self.script.suffix == ".py" else r"^check\((?:async )?function (\w+)"
        )
        return re.findall(pattern, self.script.read_text("utf-8"), re.MULTILINE)

    @property
    def missing(self) -> str | None:
        """Why it cannot run here."""
        if self.script.suffix != ".py":
            return node_missing()
        return python_missing() if self.python == PYTHON else None


def python_missing() -> str | None:
    is_there = any(PYTHON.parents[1].glob("lib/python*/site-packages/litellm"))  # all were installed, or none
    return None if is_there else "no build/clients: `make test` makes it"


def node_missing() -> str | None:
    if shutil.which("node") is None:
        return "no node here"
    return None if MODULES.is_dir() else "no build/node: `make test` makes it"


PYTHON_CLIENTS = [
    Client(f"python-{path.stem}", path)
    for path in sorted((HERE / "python").glob("*.py"))
    if "@check\n" in path.read_text()
]
# LiteLLM and LlamaIndex keep build/clients at openai 2; this environment has the newest.
NEWEST_CLIENTS = [
    Client(f"newest-{name}", HERE / "python" / f"{name}.py", Path(sys.executable))
    for name in ("openai_sdk", "openai_responses")
]
NODE_CLIENTS = [
    Client(f"node-{path.stem}", path) for path in sorted((HERE / "node").glob("*.mjs")) if path.stem != "checking"
]


def environment(url: str, key: str) -> dict[str, str]:
    ours = ("TWICETOLD_", "OPENAI_", "ANTHROPIC_", "PYTHONPATH")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return kept | QUIET | {"GATEWAY_URL": url, "CLIENT_KEY": key, "PYTHONPATH": str(ROOT / "sdk" / "src")}


@cache
def node_folder(parent: Path) -> Path:
    """A folder whose scripts find the packages: Node looks for them beside the script, and ours are kept apart."""
    folder = parent / "node"
    folder.mkdir()
    (folder / "node_modules").symlink_to(MODULES)
    for script in (HERE / "node").glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


@dataclass(frozen=True)
class Outcome:
    """What came of a check or a program."""

    error: str | None
    printed: str = ""


@dataclass(frozen=True)
class Told:
    """A program that runs behind a client's checks."""

    name: str
    code: str


@cache
def outcomes(client: Client, url: str, parent: Path, programs: tuple[Told, ...] = ()) -> dict[str, Outcome]:
    """Run every check of a client and the programs behind them, once; by name."""
    if client.script.suffix == ".py":
        command, folder = [str(client.python), "-m", f"tests.clients.python.{client.script.stem}"], ROOT
    else:
        command, folder = ["node", client.script.name], node_folder(parent)
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment(url, f"sk-{client.name}"),
        input=json.dumps([asdict(each) for each in programs]),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"name"')]
    found = {line["name"]: Outcome(line["error"], line.get("printed", "")) for line in lines}
    unheard = Outcome(f"it did not run:\n{ran.stderr[-4000:]}")
    return {name: found.get(name, unheard) for name in (*client.checks, *(each.name for each in programs))}
