"""What is compared: workloads at rising load under every policy, and affinity when something goes wrong."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

from backends.routing.base import Chooser
from backends.routing.policies import POLICIES, make_chooser
from bench.datasets import DataError, find
from bench.routing.simulate import Outcome, Scene, one_cache, simulate
from bench.routing.workloads import Shape, Workload, mooncake, sessions

TRACE_LEVELS = (0.1, 0.5, 1.0, 1.5, 2.0, 2.5)
SESSION_LEVELS = (4.0, 8.0, 12.0, 16.0)
SESSIONS_S = 240  # for so long sessions begin
PLAIN = Scene()
HOT = Shape(systems=1, system_tokens=(3000, 3000), documents=0.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One workload at one load under one policy."""

    workload: str
    level: float
    policy: str
    requests: int
    hit_share: float
    of_one_cache: float  # the hit share beside that of one cache of the summed size
    of_unbounded: float
    p50_s: float
    p90_s: float
    spread: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Case:
    """Something to run."""

    workload: str
    level: float
    policy: str
    scene: Scene = PLAIN
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.workload} x{self.level:g} {self.policy}"


def chooser(policy: str) -> Callable[[Random], Chooser]:
    return lambda random: make_chooser(policy, random)


def workload(name: str, level: float, *, is_quick: bool = False) -> Workload:
    """A workload by name: at `level` times the recorded pace, or so many sessions a second. Raises `DataError`."""
    if name == "mooncake":
        return mooncake(find("mooncake_conversation", "traces"), 800 if is_quick else None).faster(level)
    shape = HOT if name == "hot" else Shape()
    return sessions(name, round(level * (30 if is_quick else SESSIONS_S)), level, shape)


def run(case: Case, *, is_quick: bool = False) -> tuple[Cell, Outcome]:
    """Run one case to its end."""
    asked = workload(case.workload, case.level, is_quick=is_quick)
    outcome = simulate(asked, chooser(case.policy), case.scene, case.seed)
    one = one_cache(outcome.asks, asked.block_tokens, case.scene.replicas * case.scene.hardware.kv_tokens)
    every = one_cache(outcome.asks, asked.block_tokens, None)
    hit = outcome.hit_share
    return Cell(
        case.workload, case.level, case.policy, len(outcome.asks), hit, hit / one if one else 0.0,
        hit / every if every else 0.0, outcome.ttft(50), outcome.ttft(90), outcome.spread,
    ), outcome  # fmt: skip


def cases(*, is_quick: bool = False) -> Iterator[Case]:
    """Every workload at every load under every policy; a workload whose data is absent is left out."""
    levels = {"mooncake": TRACE_LEVELS, "sessions": SESSION_LEVELS, "hot": SESSION_LEVELS[1::2]}
    for name, paces in levels.items():
        if name == "mooncake" and absent():
            continue
        for level in paces[1:4:2] if is_quick else paces:
            for policy in POLICIES:
                yield Case(name, level, policy)


def absent() -> str:
    """Why the trace cannot be replayed; empty when it can."""
    try:
        find("mooncake_conversation", "traces")
    except DataError as error:
        return str(error)
    return ""


TROUBLES: dict[str, Scene] = {
    "as it is": PLAIN,
    "two gateways": replace(PLAIN, gateways=2),
    "four gateways": replace(PLAIN, gateways=4),
    "a replica restarts, told": replace(PLAIN, restarts=((120.0, 0, True),)),
    "a replica restarts, untold": replace(PLAIN, restarts=((120.0, 0, False),)),
    "a replica joins": replace(PLAIN, joins_at=120.0),
    "engines report nothing": replace(PLAIN, reports_cached=False),
}


def troubles(name: str = "sessions", level: float = 8.0) -> Iterator[tuple[str, Case]]:
    """Affinity in each kind of trouble, and least load in the same."""
    for what, scene in TROUBLES.items():
        for policy in ("affinity", "least_load"):
            yield what, Case(name, level, policy, scene)


def stays(outcome: Outcome) -> float:
    """The share of later turns that go where the turn before went."""
    last: dict[int, int] = {}
    stayed = later = 0
    for ask, which in zip(outcome.asks, outcome.chosen, strict=True):
        before = last.get(ask.prompt.opening)
        if before is not None:
            later += 1
            stayed += before == which
        last[ask.prompt.opening] = which
    return stayed / later if later else 0.0
