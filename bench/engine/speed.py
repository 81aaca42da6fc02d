"""Decode: tokens per second alone and at batch 8, in every precision of the weights, beside transformers in bfloat16.

Ours is the difference of two streamed generations of different length, so prefill and start-up cancel out; transformers
is timed step by step after its prefill. Both decode at the same context length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine.models import DEMO, QWEN25_500M, SMOLLM2_135M, checkpoint_of
from bench.engine.plain import Transformers
from bench.engine.prompts import Prompts
from bench.engine.serving import THREADS, Engine, NotAvailable, Request, serving
from bench.figures import median
from bench.rows import Row, Scale

WEIGHTS = ("", "int8", "int4")  # engine.weights; empty: as the checkpoint has them
BATCHES = (1, 8)


@dataclass(frozen=True, slots=True)
class Work:
    """What is decoded: two lengths whose difference counts, after prompts of `context` tokens, so many times."""

    context: int
    short: int
    long: int
    rounds: int

    @property
    def steps(self) -> int:
        return self.long - self.short


def run(scale: Scale) -> list[Row]:
    """The demo model and both shapes."""
    rows = _compare(DEMO, "float32", ("",), Work(64, 8, 8 + scale.of(128, 32), scale.of(3, 1)))
    rounds = 4 if scale.large else scale.of(2, 1)
    rows += _compare(SMOLLM2_135M, "bfloat16", WEIGHTS[:: scale.of(1, 2)], Work(64, 4, 4 + scale.of(32, 12), rounds))
    if not scale.quick:
        batches, steps = (BATCHES, 32) if scale.large else (BATCHES[:1], 12)
        rows += _compare(QWEN25_500M, "bfloat16", WEIGHTS, Work(64, 2, 2 + steps, rounds), batches)
    return rows


def _compare(name: str, dtype: str, weights: Sequence[str], work: Work, batches: Sequence[int] = BATCHES) -> list[Row]:
    path = checkpoint_of(name)
    plain = Transformers(path, dtype)
    rows = []
    for kind in weights:
        settings: dict[str, Any] = {"weights": kind} if kind else {}
        what = f"{name}, {kind or dtype} weights"
        try:
            with serving(path, dtype=dtype, max_running=max(BATCHES), **settings) as engine:
                rows += [_row(engine, plain, path, batch, work, what, dtype) for batch in batches]
        except NotAvailable as why:
            rows.append(Row("speed", what, None, "tok/s", note=f"not available: {why}"))
    return rows


def _row(engine: Engine, plain: Transformers, path: Path, batch: int, work: Work, what: str, dtype: str) -> Row:
    prompts = Prompts(path)
    chats = [prompts.plain(work.context, f"{batch} {number}") for number in range(batch)]
    short, long = (
        [Request(chat.messages, length, is_cold=True) for chat in chats] for length in (work.short, work.long)
    )
    token_ids = [chat.token_ids for chat in chats]
    engine.seconds(short)
    plain.decode_seconds(token_ids, 2)  # the first of a shape is slower
    ours, theirs = [], []
    for _ in range(work.rounds):
        ours.append((engine.seconds(long) - engine.seconds(short)) / work.steps)
        theirs.append(plain.decode_seconds(token_ids, work.steps) / work.steps)
    return Row(
        "speed",
        f"decode, {what}, batch {batch}",
        batch / median(ours),
        "tok/s",
        batch / median(theirs),
        f"transformers {dtype}",
        f"{median(ours) * 1000:.1f} ms a step, {THREADS} threads",
    )
