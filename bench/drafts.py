"""Drafts: decode speed with them and without, by how much of the near answer the model says itself.

The near answer is what the model does say, with a share of its tokens replaced by others, one here and one there or
eight in a row. One engine in this process, with its drafts and without in turns: of two engines with the same weights
one has them in better memory, and is up to a fifth faster. Of each turn the ratio is taken, and their median: what else
runs on the machine changes from second to second.

Left alone, random weights say the same over and over, and the output would be its own best draft: a presence penalty
keeps them from it. They are so undecided that in bfloat16 another number of rows gives another token: all is float32.
The worst case is sampled: nothing that is guessed comes true.
"""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.local.assembly import build_engine
from backends.local.decoder import checkpoint
from backends.local.engine.engine import Engine
from backends.local.params import Sampling
from backends.local.wire import Load, Submit, Token
from bench.engine.models import DEMO, SMOLLM2_135M, checkpoint_of
from bench.figures import median
from bench.rows import Row, Scale

NEAR = 0.6  # of the tokens
KEPT = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
BATCHES = (1, 8)
PROMPT_TOKENS = 64
THREADS = 1
WORDS = (10, 1000)  # token ids that every vocabulary has
GREEDY = Sampling(temperature=0.0, presence_penalty=2.0)


@dataclass(frozen=True, slots=True)
class Case:
    """How near the near answers are: a share of their tokens is kept, the others are replaced in runs."""

    kept: float
    run_tokens: int
    sampled: bool = False

    @property
    def what(self) -> str:
        if self.sampled:
            return "sampled, nothing comes true"
        return f"{self.kept:.0%} kept" + (f", replaced {self.run_tokens} in a row" if 0 < self.kept < 1 else "")

    def sampling(self, seed: int) -> Sampling:
        return Sampling(temperature=1.0, seed=seed) if self.sampled else GREEDY


CASES = (
    *(Case(kept, 1) for kept in KEPT),
    *(Case(kept, 8) for kept in (0.8, 0.6, 0.4)),
    Case(0.0, 1, sampled=True),
)
FEWER = (Case(1.0, 1), Case(0.8, 1), Case(0.8, 8), Case(0.4, 1), Case(0.0, 1), Case(0.0, 1, sampled=True))


@dataclass(frozen=True, slots=True)
class Run:
    """One generation of a batch: what was said, and what a token took after everybody's first one."""

    said: list[list[int]]
    wall_s: float
    cpu_s: float  # of this thread: what others do on the machine counts less


def run(scale: Scale) -> list[Row]:
    """Some cases on the demo model; with `large` all of them, and on random weights of SmolLM2-135M's shape too."""
    if scale.large:
        return _compare(DEMO, CASES, 160, 15) + _compare(SMOLLM2_135M, CASES, 48, 2)
    return _compare(DEMO, FEWER, scale.of(160, 48), scale.of(5, 1))


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one case."""

    row: Row
    speedup: float  # tokens per processor second, over those without drafts
    accepted: float  # drafts, of all tokens


def _compare(name: str, cases: Sequence[Case], length: int, rounds: int) -> list[Row]:
    engine = _engine(checkpoint_of(name))
    rows: list[Row] = []
    for batch in BATCHES:
        what = f"{name}, batch {batch}"
        cells = [_cell(engine, case, batch, length, rounds, f"{what}, {case.what}") for case in cases]
        rows += [*(cell.row for cell in cells), *_least(cells, what)]
    return rows


def _least(cells: Sequence[Cell], what: str) -> list[Row]:
    """The worst cases, in processor time."""
    near = [cell.speedup for cell in cells if cell.accepted >= NEAR]
    return [
        Row(
            "drafts", f"{what}, least speed-up where {NEAR:.0%} were accepted drafts", min(near, default=None), "times"
        ),
        Row("drafts", f"{what}, least speed-up of all", min(cell.speedup for cell in cells), "times"),
    ]


def _cell(engine: Engine, case: Case, batch: int, length: int, rounds: int, what: str) -> Cell:
    before = engine.stats()
    ours, theirs, num_tokens = list[Run](), list[Run](), 0
    for number in range(rounds):
        prompts = list(_prompts(batch, number))
        plain = [_submit(i, prompt, length, case, []) for i, prompt in enumerate(prompts)]
        with _without_drafts(engine):
            said = _generate(engine, plain).said
        nears = [_near(own, case, number) for own in said]
        drafted = [_submit(i, prompt, length, case, nears[i]) for i, prompt in enumerate(prompts)]
        if number % 2:
            ours.append(_generate(engine, drafted))
        with _without_drafts(engine):
            theirs.append(_generate(engine, plain))
        if not number % 2:
            ours.append(_generate(engine, drafted))
        num_tokens += batch * length
    after = engine.stats()
    accepted = after.drafts_accepted - before.drafts_accepted
    checked = accepted + after.drafts_rejected - before.drafts_rejected
    cpu = median([beside.cpu_s / run.cpu_s for run, beside in zip(ours, theirs, strict=True)])
    note = (
        f"{cpu:.2f} times as many tokens per processor second; {accepted / num_tokens:.0%} of the tokens were accepted "
        f"drafts, {accepted / max(1, checked):.0%} of the drafts accepted"
    )
    wall, beside_wall = (1 / median([run.wall_s for run in runs]) for runs in (ours, theirs))
    return Cell(Row("drafts", what, wall, "tok/s", beside_wall, "without", note), cpu, accepted / num_tokens)


@contextmanager
def _without_drafts(engine: Engine) -> Iterator[None]:
    drafting, engine._drafting = engine._drafting, None
    try:
        yield
    finally:
        engine._drafting = drafting


def _generate(engine: Engine, submits: Sequence[Submit]) -> Run:
    said: list[list[int]] = [[] for _ in submits]
    for submit in submits:
        engine.submit(submit)
    while engine.has_work and not all(said):
        _step(engine, said)
    first = sum(map(len, said))
    wall, cpu = time.perf_counter(), time.thread_time()
    while engine.has_work:
        _step(engine, said)
    tokens = sum(map(len, said)) - first
    return Run(said, (time.perf_counter() - wall) / tokens, (time.thread_time() - cpu) / tokens)


def _step(engine: Engine, said: list[list[int]]) -> None:
    for event in engine.step():
        if isinstance(event, Token):
            said[event.request].append(event.token_id)


def _submit(number: int, prompt: list[int], length: int, case: Case, drafts: list[int]) -> Submit:
    return Submit(number, prompt, length, case.sampling(number), ignore_eos=True, use_kv=False, drafts=drafts)


def _prompts(batch: int, seed: int) -> Iterator[list[int]]:
    rng = random.Random(seed)
    return ([rng.randrange(*WORDS) for _ in range(PROMPT_TOKENS)] for _ in range(batch))


def _near(said: list[int], case: Case, seed: int) -> list[int]:
    """`said` with a share replaced, in runs."""
    rng, near = random.Random(seed), list[int]()
    for start in range(0, len(said), case.run_tokens):
        piece = said[start : start + case.run_tokens]
        near += piece if rng.random() < case.kept else [rng.randrange(*WORDS) for _ in piece]
    return near


def _engine(path: Path) -> Engine:
    found = checkpoint.read(path)
    return build_engine(
        Load(
            checkpoint=str(path),
            fingerprint=found.fingerprint,
            dtype="float32",
            threads=THREADS,
            context_tokens=min(2048, found.config.context_tokens),
            eos_token_ids=[],
            kv_budget_bytes=0,
            slab_budget_bytes=1 << 30,
            max_running=max(BATCHES),
            max_waiting=0,
            prefill_chunk=128,
            exact=False,
            secret="00" * 16,
            drafts=True,
            idle_work=False,
        )
    )
