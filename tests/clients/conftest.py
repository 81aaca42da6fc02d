"""One gateway with the demo model and the semantic tier, for every client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Gateway, running_gateway


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="session")
def gateway(folder: Path) -> Iterator[Gateway]:
    """No would-be hit is generated for the sake of measuring: the checks count on hits."""
    with running_gateway(folder / "data", cache__shadow_rate="0") as running:
        running.wait("local", "semantic")
        yield running
