"""What the engine was asked to reach, read from the rows of a run: which goals are met, and which are not.

Where several rows are about one goal, the worst of them counts. A goal whose rows were not measured is left out.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.rows import Row, figure

Reader = Callable[[Sequence[Row]], list[float]]


@dataclass(frozen=True, slots=True)
class Goal:
    """One bound, and how its figure is read."""

    what: str
    sense: Literal["at least", "at most"]
    bound: float
    read: Reader
    unit: str = "times"
    takes: Reader | None = None  # over what the machine can do at most


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a goal."""

    goal: Goal
    reached: float
    takes: float | None = None

    @property
    def is_met(self) -> bool:
        goal = self.goal
        return self.reached >= goal.bound if goal.sense == "at least" else self.reached <= goal.bound

    def as_json(self) -> dict[str, Any]:
        goal = self.goal
        bound = f"{goal.sense} {goal.bound:g} {goal.unit}"
        found = {"reached": self.reached, "is_met": self.is_met, "takes": self.takes}
        return {"goal": goal.what, "bound": bound, **found}


def value(pattern: str) -> Reader:
    """The figures of the rows called like `pattern`: suite, colon, what."""
    return lambda rows: [row.value for row in called(pattern, rows) if row.value is not None]


def ratio(pattern: str, beside: str = "") -> Reader:
    """How many times the reference they are; of those rows only whose reference is called like `beside`."""
    return lambda rows: [
        row.ratio for row in called(pattern, rows) if row.ratio is not None and re.search(beside, row.beside_what)
    ]


def cut(pattern: str, beside: str = "") -> Reader:
    """How many times less than the reference they are."""
    return lambda rows: [1 / each for each in ratio(pattern, beside)(rows) if each]


def over(pattern: str, other: str) -> Reader:
    """How many times the row called like `other` the one called like `pattern` is."""
    return lambda rows: [up / down for up in value(pattern)(rows)[:1] for down in value(other)(rows)[:1] if down]


GOALS = (
    Goal("decode over transformers, bf16, alone", "at least", 1.3, ratio("speed: .*, bfloat16 weights, batch 1")),
    Goal("decode over transformers, bf16, batch 8", "at least", 1.5, ratio("speed: .*, bfloat16 weights, batch 8")),
    Goal("decode over transformers, int8, alone", "at least", 2, ratio("speed: .*, int8 weights, batch 1")),
    Goal("decode over transformers, int4, alone", "at least", 3, ratio("speed: .*, int4 weights, batch 1")),
    Goal(
        "int4 decode alone at 500M over llama.cpp's Q4_0", "at least", 1,
        ratio("peers: decode, qwen.*, int4, batch 1", "llama.cpp"),
    ),
    Goal(
        "8 conversations over `generate` one by one", "at least", 5, ratio("throughput: .* at once, bfloat16 weights"),
    ),
    Goal("prefill over transformers", "at least", 1.1, ratio("ttft: prefill of", "transformers")),
    Goal(
        "prefill over llama.cpp, bf16", "at least", 4, ratio("peers: prefill, .*, bfloat16,", "llama.cpp"),
        takes=ratio("peers: arithmetic of 4 times llama.cpp"),
    ),
    Goal("warm first token over transformers' warm", "at most", 0.6, ratio("ttft: 2048 .*, from RAM", "transformers")),
    Goal("cold / warm at 2,048", "at least", 14, over(r"ttft: 2048 \+ 64, cold", r"ttft: 2048 \+ 64, from RAM")),
    Goal("cold / warm at 8,192", "at least", 40, over(r"ttft: 8192 \+ 64, cold", r"ttft: 8192 \+ 64, from RAM")),
    Goal("warm over a bare forward", "at most", 1.3, ratio("ttft: 2048 .*, from RAM", "bare")),
    Goal("first token from disk over RAM", "at most", 1.5, ratio("ttft: .*, from disk$")),
    Goal("the same after a restart", "at most", 1.5, ratio("ttft: .*, from disk after a restart")),
    Goal("follow-up turn, 500 to 8,000 tokens", "at most", 25, value("followup: slowest over"), "% slower"),
    Goal("reusable tokens reused in replays", "at least", 90, value("replay: .*reusable tokens reused"), "%"),
    Goal("prefill time cut, sample of all files", "at least", 5, cut("replay: all files, demo: prefill time")),
    Goal("prefill time cut, KdConv on the 135M shape", "at least", 5, cut("replay: kdconv.*smollm.*: prefill time")),
    Goal("exact hit's p99 while the engine generates", "at most", 2, ratio("busy: .* p99")),
    Goal("drafts alone, where 60 % were accepted", "at least", 2, value("drafts: .*batch 1, least .* where")),
    Goal("drafts at batch 8, where 60 % were accepted", "at least", 2, value("drafts: .*batch 8, least .* where")),
    Goal("drafts, the worst case", "at least", 0.95, value("drafts: .*, least speed-up of all")),
    Goal("bytes per kept token over the formula", "at most", 1.02, ratio("memory: bytes per kept token")),
    Goal("resident memory over a quarter in", "at most", 1.05, ratio("soak: resident memory")),
    Goal("looks at which blocks did not add up", "at most", 0, value("soak: looks"), ""),
)  # fmt: skip


def verdicts(rows: Sequence[Row], goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """What the rows say about each goal they are about."""
    return [_verdict(goal, figures, rows) for goal in goals if (figures := goal.read(rows))]


def _verdict(goal: Goal, figures: Sequence[float], rows: Sequence[Row]) -> Verdict:
    worst = min(figures) if goal.sense == "at least" else max(figures)
    return Verdict(goal, worst, max(goal.takes(rows), default=None) if goal.takes is not None else None)


def markdown(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a table to be copied."""
    lines = ["| goal | reached | bound | |", "|---|---:|---|---|"]
    for verdict in verdicts:
        goal = verdict.goal
        bound = f"{goal.sense} {goal.bound:g} {goal.unit}".strip()
        word = "met" if verdict.is_met else "**missed**"
        if verdict.takes is not None and verdict.takes > 1:
            word += f": it takes {figure(verdict.takes)} times this processor's peak"
        lines.append(f"| {goal.what} | {figure(verdict.reached)} | {bound} | {word} |")
    return "\n".join(lines)


def called(pattern: str, rows: Sequence[Row]) -> list[Row]:
    """The rows whose suite, colon and what begin like `pattern`."""
    return [row for row in rows if re.match(pattern, f"{row.suite}: {row.what}")]
