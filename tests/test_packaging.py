"""What an installation looks like from outside."""

import subprocess
import sys
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import pytest

import gateway


@pytest.mark.parametrize("name", ["gateway", "embeddings", "kvtier", "backends"])
def test_the_import_names_come_from_this_distribution_alone(name: str) -> None:
    # an editable installation lists no packages; a wheel lists ours; a collision lists somebody else's
    assert set(packages_distributions().get(name, [])) <= {"twicetold-server"}
    assert home_of(name) == home_of("gateway")


def home_of(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent


def test_the_version_is_said_once() -> None:
    assert version("twicetold-server") == gateway.__version__


def test_importing_the_gateway_loads_nothing_heavy() -> None:
    heavy = ("torch", "faiss", "transformers", "sentence_transformers", "redis", "fastapi")
    code = f"import gateway.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_the_command_says_its_version() -> None:
    said = subprocess.run([sys.executable, "-m", "gateway", "--version"], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == f"twicetold {gateway.__version__}"
