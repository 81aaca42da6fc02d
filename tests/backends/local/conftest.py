from collections.abc import Callable
from pathlib import Path

import pytest

from backends.local.demo import checkpoint_path
from tests.backends.local import tiny


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of the tiny checkpoint of a family, made once; "demo" is the model that ships."""
    made: dict[str, Path] = {"demo": checkpoint_path()}

    def checkpoint(family: str) -> Path:
        if family not in made:
            made[family] = tiny.build(family, tmp_path_factory.mktemp(family))
        return made[family]

    return checkpoint
