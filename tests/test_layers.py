"""The arrows of the house: who may import whom, and where the heavy libraries may appear."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("gateway", "embeddings", "kvtier", "backends", "sdk", "bench", "tests")

MAY_IMPORT = {
    "embeddings": set[str](),
    "kvtier": set[str](),
    "backends": {"kvtier"},  # and only backends/local, below
    "gateway": {"embeddings", "backends"},
}

ONLY_IN = {
    "torch": ("kvtier", "backends/local", "embeddings/local.py", "embeddings/runtime"),
    "numba": ("backends/local/decoder/columns.py", "backends/local/decoder/kernels.py"),
    "llvmlite": ("backends/local/decoder/kernels.py",),
    "faiss": ("embeddings/index",),
    "sentence_transformers": ("embeddings/local.py",),
    "transformers": ("backends/local",),
    "prometheus_client": ("gateway/metrics.py",),
    "jwt": ("gateway/callers/tokens.py",),
    "opentelemetry": ("gateway/telemetry/tracing.py",),
    "redis": ("kvtier/tiers/redis", "gateway/answers/redis", "gateway/shared"),
    "blake3": ("kvtier/tiers/segment.py",),
    "cryptography": ("gateway/seal/ring.py", "kvtier/tiers/sealing.py", "gateway/callers"),
    "re2": ("gateway/normalise/patterns.py",),
    "zmq": ("backends/routing/kv_events.py",),
    "msgspec": ("backends/routing/kv_blocks.py",),
    "sqlite3": (
        "gateway/answers",
        "gateway/embedded/file.py",
        "gateway/semantic/label",
        "gateway/commons/file.py",
        "gateway/quota/file.py",
        "gateway/cli/doctor.py",
    ),
    "fastapi": ("gateway/app.py", "gateway/routes"),
}

CONCRETE = {
    "gateway.answers.sqlite",
    "backends.upstream",
    "backends.local.backend",
    "embeddings.local",
    "embeddings.runtime",
}

INSIDE_GATEWAY = {
    # routes translate; they never touch stores, indexes or backends
    "gateway/routes": {"gateway.answers", "gateway.semantic", "embeddings", "backends.upstream", "backends.local"},
    # the spine knows protocols
    "gateway/pipeline.py": {"gateway.app", "gateway.routes", "gateway.services", "gateway.settings"},
}


def modules(folder: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / folder).rglob("*.py")) if "checkpoint" not in path.parts)


@cache
def imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.relative_to(ROOT).as_posix().startswith(place) for place in places)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_dependencies_point_down(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder}
    for path in modules(folder):
        tops = {name.split(".")[0] for name in imports(path)} & set(OURS)
        if path == ROOT / "gateway/offline/simulate.py":  # it replays a trace through the very block pool
            tops -= {"kvtier"}
        assert tops <= allowed, f"{path} imports {tops - allowed}"


def test_only_the_local_engine_knows_kvtier() -> None:
    for path in modules("backends"):
        if any(name.split(".")[0] == "kvtier" for name in imports(path)):
            assert below(path, ("backends/local",)), path


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_stays_where_it_is_used(library: str) -> None:
    for folder in MAY_IMPORT:
        for path in modules(folder):
            if library in {name.split(".")[0] for name in imports(path)}:
                assert below(path, ONLY_IN[library]), f"{path} imports {library}"


def test_the_sdk_stands_alone() -> None:
    for path in modules("sdk/src"):
        foreign = {name.split(".")[0] for name in imports(path)} - {*sys.stdlib_module_names, "twicetold"}
        allowed = {"httpx", "anyio"} | ({"openai"} if below(path, ("sdk/src/twicetold/wrapping",)) else set())
        assert foreign <= allowed, f"{path} imports {foreign - allowed}"


def test_only_services_names_concrete_classes() -> None:
    for path in modules("gateway"):
        if not below(path, ("gateway/services", "gateway/cli/doctor.py", "gateway/answers")):
            assert not imports(path) & CONCRETE, path


@pytest.mark.parametrize("place", INSIDE_GATEWAY)
def test_the_gateway_is_layered(place: str) -> None:
    for path in modules("gateway"):
        if below(path, (place,)):
            for forbidden in INSIDE_GATEWAY[place]:
                hits = {name for name in imports(path) if name == forbidden or name.startswith(forbidden + ".")}
                assert not hits, f"{path} imports {hits}"


def test_only_settings_reads_the_environment() -> None:
    for folder in MAY_IMPORT:
        for path in modules(folder):
            text = path.read_text("utf-8")
            if "os.environ" in text or "getenv" in text:
                assert below(path, ("gateway/settings/loading.py",)), path
