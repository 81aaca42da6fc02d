"""What a process loads before it needs it: nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys

told = {}
import gateway
told["import gateway"] = sorted(sys.modules)

from gateway.cli import make_parser
make_parser()
told["--help"] = sorted(sys.modules)

import asyncio, json
from pathlib import Path
import gateway.serve
from gateway.services import build
from gateway.settings import CacheSettings, Settings

folder = Path(sys.argv[1])

async def serve_alone():
    cache = CacheSettings(semantic=False)
    services = build(Settings(upstream="http://127.0.0.1:9", data_dir=folder / "alone", cache=cache))
    async with services.opened():
        assert services.semantic is None

asyncio.run(serve_alone())
told["serving exact hits alone"] = sorted(sys.modules)

async def serve():
    services = build(Settings(upstream="http://127.0.0.1:9", data_dir=folder / "kept"))
    async with services.opened():
        await services.semantic.batcher.ready()
        (reading,) = await services.semantic.batcher.read(["What is a cache?"])
        assert reading.pieces

asyncio.run(serve())
told["serving"] = sorted(sys.modules)
print(json.dumps(told))
"""
NEVER = {"torch", "transformers", "sentence_transformers", "sklearn", "scipy", "sympy", "onnx", "pandas", "numba"}
NOT_TO_SERVE = NEVER | {"rich", "httpx", "huggingface_hub", "redis", "opentelemetry.sdk", "cryptography", "tenacity"}
NOT_ALONE = NOT_TO_SERVE | {"faiss", "onnxruntime", "tokenizers", "safetensors", "embeddings"}
NOT_FOR_HELP = NOT_ALONE | {"fastapi", "pydantic", "uvicorn", "numpy", "sqlite3"}
NOT_AT_ALL = NOT_FOR_HELP | {"orjson", "argparse", "asyncio", "gateway.cli", "gateway.settings", "backends"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The modules of one process, as it goes on."""
    command = [sys.executable, "-c", CODE, str(tmp_path_factory.mktemp("data"))]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(
    ("moment", "unwanted"),
    [
        ("import gateway", NOT_AT_ALL),
        ("--help", NOT_FOR_HELP),
        ("serving exact hits alone", NOT_ALONE),  # all that an installation without extras has
        ("serving", NOT_TO_SERVE),
    ],
)
def test_nothing_is_loaded_before_it_is_needed(loaded: dict[str, list[str]], moment: str, unwanted: set[str]) -> None:
    assert not unwanted & set(loaded[moment])
