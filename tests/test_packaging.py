"""What an installation looks like from outside."""

import subprocess
import sys
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

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


def test_a_wheel_holds_the_four_packages_and_the_demo_model_and_nothing_else(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()

    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"gateway", "embeddings", "kvtier", "backends"}
    checkpoint = "backends/local/demo/checkpoint/"
    needed = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert {checkpoint + name for name in needed} <= set(names)
    assert wheel.stat().st_size < 10 * 2**20
