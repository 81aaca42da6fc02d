"""The contract of answer stores, over each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.answers.base import Answers
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from tests.contracts.answers_contract import *  # noqa: F403
from tests.contracts.answers_contract import KEEP_STALE_S, Clock

SMALL = 3000  # holds one or two entries: the tier in front forgets nearly everything
LARGE = 100_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "tiered", "tiered, small memory"])
async def answers(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[Answers]:
    store = make(request.param, clock, tmp_path / "answers.db")
    await store.open()
    yield store
    await store.close()


def make(kind: str, clock: Clock, path: Path) -> Answers:
    sqlite = SqliteAnswers(path, budget_bytes=LARGE, keep_stale_s=KEEP_STALE_S, hits_every_s=0.05, now=clock)
    if kind == "sqlite":
        return sqlite
    memory = MemoryAnswers(SMALL if "small" in kind else LARGE, keep_stale_s=KEEP_STALE_S, now=clock)
    return memory if kind == "memory" else TieredAnswers(memory, sqlite)
