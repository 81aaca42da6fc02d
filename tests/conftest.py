"""What holds for every test."""

import gc
import os
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

# The matrices here are tiny: with a thread for every core they spend most of their time waiting for each other, and an
# eigh of 384 by 384 takes ten times as long on a busy machine. Read when numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some three hundred processes are started here: where nothing compiled is kept, each compiles a gateway (0.6 s of the
# processor), and each worker every test.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

TESTS = Path(__file__).parent
# A file stays with one worker: those that take longest begin, so that at the end no worker waits for another's. Behind
# them as xdist has it, the largest first.
LONGEST = (
    "e2e/test_models.py",
    "clients/test_clients.py",
    "e2e/test_isolation.py",
    "e2e/test_engine.py",
    "e2e/test_commands.py",
    "sdk/test_typing.py",
    "e2e/test_structured.py",
    "e2e/test_drafts.py",
    "e2e/test_two_gateways.py",
    "dashboard/test_kv.py",
    "backends/local/test_warm_equals_cold.py",
    "dashboard/test_shell.py",
    "dashboard/test_entries.py",
    "e2e/test_sharing.py",
    "e2e/test_gateway_behind_gateway.py",
    "e2e/test_readme.py",
    "gateway/semantic/test_backtest.py",
    "gateway/semantic/test_refit.py",
    "gateway/test_semantic_bursts.py",
    "e2e/test_sealed.py",
    "e2e/test_invalidate.py",
    "e2e/test_interrupted.py",
    "e2e/test_erasing.py",
    "e2e/test_semantic.py",
    "backends/local/test_process.py",
    "backends/local/test_download.py",
)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # there is xdist
        config.option.loadscopereorder = False  # it knows sizes alone


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Importing and collecting makes a million objects, and all of them stay: nobody has to look through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # one process takes them as they come
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (places.get(item.path, len(LONGEST)), -sizes[item.path], item.path))
