"""What the SDK's distribution holds, brings along, and tells its readers to do."""

import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib.metadata import Distribution, distribution
from io import StringIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import twicetold
from tests.e2e.server import Gateway

SDK = Path(twicetold.__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (SDK / "README.md").read_text("utf-8"), re.DOTALL)

LOOK = """
import sys
sys.path.append(sys.argv[1])
from importlib.util import find_spec
import twicetold
foreign = ("torch", "faiss", "numpy", "gateway", "backends", "embeddings", "kvtier", "fastapi", "pydantic", "openai")
print(twicetold.__file__, [name for name in foreign if find_spec(name)], twicetold.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=SDK, capture_output=True, check=True)
    return next(folder.glob("*.whl"))


def needed(names: Iterable[str]) -> dict[str, Distribution]:
    """What these distributions need, and they themselves, by name."""
    found: dict[str, Distribution] = {}
    todo = list(names)
    while todo:
        if (name := canonicalize_name(todo.pop())) not in found:
            found[name] = distribution(name)
            wants = [Requirement(line) for line in found[name].requires or ()]
            todo += [one.name for one in wants if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_the_wheel_works_with_what_it_declares_alone_and_finds_nothing_of_the_server(
    wheel: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    with ZipFile(wheel) as content:
        content.extractall(site)
    for one in needed(declared(wheel)).values():
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(str(one.locate_file(top)))
    look = [sys.executable, "-I", "-S", "-c", LOOK, str(site)]  # of this environment: the standard library only
    said = subprocess.run(look, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert said.stderr == ""
    assert said.stdout.split() == [str(site / "twicetold" / "__init__.py"), "[]", twicetold.__version__]


def declared(wheel: Path) -> list[str]:
    """Names of what the wheel needs without its extras."""
    content = ZipFile(wheel)
    metadata = next(name for name in content.namelist() if name.endswith("METADATA"))
    return re.findall(r"Requires-Dist: ([\w-]+)(?!.*extra)", content.read(metadata).decode())


def test_the_wheel_holds_the_package_and_its_types_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    modules = {path.relative_to(SDK / "src").as_posix() for path in (SDK / "src/twicetold").rglob("*.py")}

    assert {name for name in names if ".dist-info/" not in name} == {*modules, "twicetold/py.typed"}
    assert sorted(declared(wheel)) == ["anyio", "httpx"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", "-", text)[:30])
def test_the_examples_of_the_readme_run(example: str, gateway: Gateway) -> None:
    with redirect_stdout(StringIO()) as said:
        exec(compile(example.replace("http://127.0.0.1:8420", gateway.url), "README.md", "exec"), {})  # noqa: S102
    assert said.getvalue()
