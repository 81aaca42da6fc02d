"""What an installation looks like from outside."""

import subprocess
import sys
from importlib.metadata import packages_distributions, version

import pytest

import gateway


@pytest.mark.parametrize("name", ["gateway", "embeddings", "kvtier", "backends"])
def test_the_import_names_come_from_this_distribution_alone(name: str) -> None:
    assert set(packages_distributions()[name]) == {"twicetold-server"}


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
