"""One walk of one stream under one policy: what a report is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.quality.memo import Remembering
from bench.quality.policies import FixedCosine, Served
from bench.quality.streams import Stream
from bench.quality.vcache import VCache
from bench.quality.walk import Tally, tally_of, walk
from embeddings.control.prior import Prior
from embeddings.verifier import Verifier

TARGETS = (0.005, 0.01, 0.02, 0.05)
DEFAULT = 0.01
COSINES = (*(round(0.70 + 0.03 * step, 2) for step in range(6)), *(round(0.88 + 0.01 * step, 2) for step in range(12)))
SHUFFLED = (
    "mixed_zipf",
    "banking77",
    "disfl_qa",
    "clinc150_static",
    "gptcache_mock_replay",
    "gsm_plus",
    "spider",
    "arena_hard_distinct",
)  # the longest first, so that all processes end together

# lane: as it is served; unfitted: without a verifier of its own; shipped: with the verifier that has seen the stream
Name = Literal["lane", "unfitted", "shipped", "cosine", "vcache"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be walked; `at` is a target, a threshold or vCache's delta."""

    stream: str
    policy: Name
    at: float
    seed: int | None = None  # None: the stream's own order


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it."""

    task: Task
    tally: Tally
    seconds: float = 0.0
    fits: int = 0  # of the lane's own verifier that were kept, and what all of them took
    fit_s: float = 0.0

    @property
    def is_kept(self) -> bool:
        """Whether wrong / hits stayed at or under the target."""
        return self.tally.wrong <= self.task.at * self.tally.hits


def own_order(streams: Sequence[str]) -> Iterator[Task]:
    """Every policy in the streams' own order."""
    for stream in streams:
        yield from (Task(stream, "lane", target) for target in TARGETS)
        yield from (Task(stream, "unfitted", DEFAULT), Task(stream, "shipped", DEFAULT))
        yield from (Task(stream, "vcache", delta) for delta in TARGETS)
        yield from (Task(stream, "cosine", at) for at in COSINES)


def shuffles(streams: Sequence[str], seeds: Sequence[int], *, is_fitted: bool) -> Iterator[Task]:
    """The lane in other orders, with a verifier of its own or without."""
    policy: Name = "lane" if is_fitted else "unfitted"
    for stream in SHUFFLED:
        if stream in streams:
            yield from (Task(stream, policy, target, seed) for seed in seeds for target in TARGETS)


class Runner:
    """Walks one stream; what verifiers said of a pair is remembered from walk to walk."""

    def __init__(self, stream: Stream, left_out: Verifier, shipped: Verifier, prior: Prior) -> None:
        """`left_out` and `prior` have not seen the stream."""
        self.stream = stream
        self.left_out = Remembering(left_out, stream.memo)
        self._shipped = Remembering(shipped, stream.memo)
        self.prior = prior

    def run(self, task: Task) -> Run:
        """Without the seconds."""
        asked = self.stream.shuffled(task.seed)
        if task.policy == "cosine":
            return Run(task, tally_of(walk(self.stream, asked, FixedCosine(task.at))))
        if task.policy == "vcache":
            return Run(task, tally_of(walk(self.stream, asked, VCache(task.at, task.seed))))
        first, prior = (self._shipped, None) if task.policy == "shipped" else (self.left_out, self.prior)
        lane = Served(first, task.at, task.seed, prior=prior, is_refitted=task.policy != "unfitted")
        tally = tally_of(walk(self.stream, asked, lane, lane))
        fits = lane.refits
        return Run(task, tally) if fits is None else Run(task, tally, fits=fits.kept, fit_s=fits.seconds)
