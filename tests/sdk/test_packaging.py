"""What the SDK's distribution holds, brings along, and tells its readers to do."""

import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from zipfile import ZipFile

import pytest

import twicetold
from tests.e2e.server import Gateway

SDK = Path(twicetold.__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (SDK / "README.md").read_text("utf-8"), re.DOTALL)

LOOK = """
import sys, twicetold
foreign = ("torch", "faiss", "numpy", "gateway", "backends", "embeddings", "kvtier", "fastapi", "pydantic", "openai")
print(twicetold.__file__, [name for name in foreign if name in sys.modules], twicetold.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=SDK, capture_output=True, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_works_alone_and_loads_nothing_of_the_server(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    look = [sys.executable, "-c", LOOK]
    said = subprocess.run(look, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert said.stdout.split() == [str(target / "twicetold" / "__init__.py"), "[]", twicetold.__version__]


def test_the_wheel_holds_the_package_and_its_types_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    modules = {path.relative_to(SDK / "src").as_posix() for path in (SDK / "src/twicetold").rglob("*.py")}

    assert {name for name in names if ".dist-info/" not in name} == {*modules, "twicetold/py.typed"}
    metadata = next(name for name in names if name.endswith("METADATA"))
    needed = re.findall(r"Requires-Dist: ([\w-]+)(?!.*extra)", ZipFile(wheel).read(metadata).decode())
    assert sorted(needed) == ["anyio", "httpx"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", "-", text)[:30])
def test_the_examples_of_the_readme_run(example: str, gateway: Gateway) -> None:
    with redirect_stdout(StringIO()) as said:
        exec(compile(example.replace("http://127.0.0.1:8420", gateway.url), "README.md", "exec"), {})  # noqa: S102
    assert said.getvalue()
