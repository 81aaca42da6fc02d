"""The README's commands are run, and print what it says they print."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Gateway, running_gateway

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8420"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("demo") / "data") as running:
        running.wait("local", "semantic")
        yield running


def sessions() -> list[tuple[str, str]]:
    """Commands of the console blocks, and what they print."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, grep, expected = session.partition("grep -E '^x-.*(tier|reason|saved)'\n")
            found.append((command + grep, expected))
    return found


def test_the_commands_print_what_the_readme_says(demo: Gateway) -> None:
    told = sessions()
    assert len(told) == 4
    generated = 0
    for command, expected in told:
        ran = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, demo.url)], capture_output=True, text=True, timeout=60, check=True
        )
        assert [line.rstrip() for line in ran.stdout.splitlines()] == expected.splitlines()
        generated += "tier: full" in expected or "tier: kv" in expected
        demo.wait_for(lambda stats: stats["engine"]["idle_tasks"], generated)  # a reader types slower than that


def test_the_log_of_a_healthy_start_says_what_is_ready_and_looks_like_no_error(demo: Gateway) -> None:
    log = demo.log.read_text("utf-8")

    assert re.search(r"engine process \d+ is ready", log)
    assert "semantic index ready" in log
    assert not re.search(r"Error|WARNING|it/s", log)


def test_the_four_requests_meet_the_four_tiers() -> None:
    tiers = [re.search(r"x-twicetold-tier: (\w+)", expected) for _, expected in sessions()]

    assert [tier and tier[1] for tier in tiers] == ["full", "exact", "semantic", "kv"]


def test_the_client_of_the_readme_gets_an_answer(demo: Gateway) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, demo.url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ran.stdout.startswith("Prefix caching")
