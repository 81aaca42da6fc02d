"""Official clients, the examples and the pages about them, against one running gateway.

Every check of every script in python/ and node/ is a test; what a script checks, its name says.
"""

import json
import re
from pathlib import Path

import pytest

from tests.clients.clients import NEWEST_CLIENTS, NODE_CLIENTS, PYTHON_CLIENTS, ROOT, Client, outcomes
from tests.clients.programs import Program, behind, examples, outcome, page
from tests.e2e.server import Gateway

CHECKS = [
    pytest.param(client, check, id=f"{client.name}-{check}")
    for client in (*PYTHON_CLIENTS, *NEWEST_CLIENTS, *NODE_CLIENTS)
    for check in client.checks
]
PROGRAMS = (*examples(), *page("quickstart.md"), *page("clients.md"))


@pytest.mark.parametrize(("client", "check"), CHECKS)
def test_an_official_client_sees(client: Client, check: str, request: pytest.FixtureRequest) -> None:
    if client.missing:
        pytest.skip(client.missing)
    gateway: Gateway = request.getfixturevalue("gateway")  # not started where every client is missing
    folder: Path = request.getfixturevalue("folder")

    got = outcomes(client, gateway.url, folder, behind(client, PROGRAMS, gateway.url))[check]

    assert got.error is None, got.error


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_that_people_are_shown_runs_and_prints_what_it_says(
    program: Program, gateway: Gateway, folder: Path
) -> None:
    if program.missing:
        pytest.skip(program.missing)

    got = outcome(program, PROGRAMS, gateway.url, folder)

    assert got.error is None, got.error
    assert program.prints is None or got.printed.rstrip() == program.prints.rstrip()


@pytest.mark.parametrize("name", ["docs/quickstart.md", "docs/clients.md", "examples/README.md"])
def test_a_page_links_to_what_is_there(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))

    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_example_is_told_of_in_the_list_of_them() -> None:
    told = (ROOT / "examples" / "README.md").read_text("utf-8")

    assert [program.name for program in examples() if f"({program.name})" not in told] == []


def test_the_page_of_clients_names_the_versions_that_are_tested() -> None:
    pins = re.findall(
        r"^([\w-]+)==([\d.]+)$", (ROOT / "tests/clients/requirements.txt").read_text("utf-8"), re.MULTILINE
    )
    node = json.loads((ROOT / "tests/clients/node/package.json").read_text("utf-8"))["dependencies"]
    newest = re.findall(r"^(openai)==([\d.]+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    page = (ROOT / "docs/clients.md").read_text("utf-8")

    short = [(name, ".".join(version.split(".")[:2])) for name, version in (*pins, *node.items()) if name != "zod"]
    assert [f"{name} {version}" for name, version in short if f"`{name}` {version}" not in page] == []
    assert f"and {'.'.join(newest[0][1].split('.')[:2])}, `anthropic`" in page
