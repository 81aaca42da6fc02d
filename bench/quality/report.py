"""The report on streams: every policy on the same embeddings in one run, beside the goals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.quality import gptcache, plot
from bench.quality.audit import judged
from bench.quality.risk import COSINES, DEFAULT, SHUFFLED, TARGETS, Name, Run
from bench.quality.streams import Stream
from bench.quality.walk import Tally
from embeddings.control.risk import clopper_pearson

GOALS = {"clinc150_static": 0.55, "banking77": 0.30, "disfl_qa": 0.35, "spider": 0.10, "mixed_zipf": 0.90}
MOST_WRONG_OF_ALL = {"gsm_plus": 0.005, "arena_hard_distinct": 0.005}
HELD_GOAL = 0.95  # of runs


@dataclass(frozen=True, slots=True)
class Walked:
    """One stream in its own order."""

    name: str
    runs: Mapping[tuple[Name, float], Tally]

    @property
    def best_cosine(self) -> float:
        """The fixed cosine that hindsight would have chosen: most served at the target."""
        kept = [(self.runs["cosine", at].served_share, -at) for at in COSINES if _kept(self.runs["cosine", at])]
        return -max(kept)[1] if kept else 1.0


def walked(runs: Sequence[Run]) -> list[Walked]:
    """Those in the streams' own order, by stream."""
    own = [run for run in runs if run.task.seed is None]
    return [
        Walked(name, {(run.task.policy, run.task.at): run.tally for run in own if run.task.stream == name})
        for name in dict.fromkeys(run.task.stream for run in own)
    ]


def streams_table(all_walked: Sequence[Walked]) -> str:
    """The main table, as Markdown."""
    lines = [
        "| stream | policy | served of answerable | wrong / hits (95 %) | wrong / all | spent on learning | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in all_walked:
        best = one.best_cosine
        rows: list[tuple[str, Tally]] = [
            ("**lane, 1 %**", one.runs["lane", DEFAULT]),
            ("lane, no verifier of its own", one.runs["unfitted", DEFAULT]),
            ("lane, shipped verifier (in sample)", one.runs["shipped", DEFAULT]),
            (
                f"best cosine in hindsight ({best:.2f})" if best < 1 else "no cosine keeps 1 %",
                one.runs.get(("cosine", best), Tally()),
            ),
            ("cosine 0.90", one.runs["cosine", 0.90]),
            ("cosine 0.95", one.runs["cosine", 0.95]),
            ("vCache, delta 1 %", one.runs["vcache", DEFAULT]),
        ]
        for n, (policy, tally) in enumerate(rows):
            lines.append(_line(one.name if n == 0 else "", policy, tally, goal(one) if n == 0 else ""))
    return "\n".join(lines)


def _line(name: str, policy: str, tally: Tally, goal: str) -> str:
    low, high = clopper_pearson(tally.wrong, tally.hits, 0.975) if tally.hits else (0.0, 1.0)
    rate = f"{tally.wrong} / {tally.hits} = {_percent(tally.wrong_rate)} ({_percent(low)} to {_percent(high)})"
    of_all = _percent(tally.wrong / tally.prompts) if tally.prompts else "-"
    share = _percent(tally.served_share) if tally.answerable else "-"
    return f"| {name} | {policy} | {share} | {rate if tally.hits else 'no hit'} | {of_all} | {tally.spent} | {goal} |"


def goal(one: Walked) -> str:
    """The stream's goal, and whether the lane meets it."""
    tally = one.runs["lane", DEFAULT]
    if (share := GOALS.get(one.name)) is not None:
        is_met = tally.served_share >= share and _kept(tally)
        return f"{_percent(share)} at 1 %: {'met' if is_met else 'MISSED'}"
    if (most := MOST_WRONG_OF_ALL.get(one.name)) is not None:
        return f"wrong / all {_percent(most)}: {'met' if tally.wrong <= most * tally.prompts else 'MISSED'}"
    return ""


def promise_table(runs: Sequence[Run], streams: Mapping[str, Stream]) -> str:
    """Shuffles: how often the promise held, by label, and without hits whose label says nothing."""
    lines = [
        "| target | stream | runs at or below | pooled wrong / hits | doubled rows, read as the same"
        " | runs without these | wrong / hits without | served, mean (least to most) | spent, mean |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for target in sorted({run.task.at for run in runs if run.task.seed is not None}):
        here = [run for run in runs if run.task.seed is not None and run.task.at == target]
        by_stream = {name: [run for run in here if run.task.stream == name] for name in SHUFFLED}
        lines += [_held(f"{100 * target:g} %", name, some, streams) for name, some in by_stream.items() if some]
        lines.append(_held(f"**{100 * target:g} %**", "**all**", here, streams))
    return "\n".join(lines)


def _held(target: str, name: str, some: Sequence[Run], streams: Mapping[str, Stream]) -> str:
    pooled = judged(some, streams)
    each = [judged([run], streams) for run in some]
    kept = sum(run.is_kept for run in some)
    read = sum(one.left <= run.task.at * one.counted for one, run in zip(each, some, strict=True))
    shares = [run.tally.served_share for run in some]
    cells = (
        target,
        name,
        _of(kept, len(some)),
        _rate(pooled.wrong, pooled.hits),
        f"{pooled.doubles}, {pooled.same}",
        _of(read, len(some)),
        _rate(pooled.left, pooled.counted),
        f"{_percent(fmean(shares))} ({_percent(min(shares))} to {_percent(max(shares))})",
        f"{fmean(run.tally.spent for run in some):.0f}",
    )
    return f"| {' | '.join(cells)} |"


def gptcache_table(one: Walked) -> str:
    lines = ["| policy | right | wrong | missed |", "|---|---|---|---|"]
    lines += [f"| GPTCache, as published | {a} | {b} | {c} |" for a, b, c in gptcache.PUBLISHED]
    for policy, tally in (
        *((f"lane, {100 * target:g} %", one.runs["lane", target]) for target in TARGETS),
        *((f"cosine {at:.2f}", one.runs["cosine", at]) for at in (0.82, 0.90, 0.95)),
    ):
        found = gptcache.scores(tally)
        lines.append(f"| {policy} | {found.right} | {found.wrong} | {found.missed} |")
    return "\n".join(lines)


def fits_line(runs: Sequence[Run]) -> str:
    """What the lanes' own verifiers cost."""
    fitted = [run for run in runs if run.fits]
    if not fitted:
        return "No lane had a verifier of its own."
    kept = sum(run.fits for run in fitted)
    seconds = sum(run.fit_s for run in fitted)
    return (
        f"A lane's own verifier was exchanged {kept / len(fitted):.1f} times in a walk that had one,"
        f" for {seconds / len(fitted):.0f} s of computing in the background ({len(fitted)} walks)."
    )


def picture(all_walked: Sequence[Walked]) -> str:
    """The plot, as SVG."""
    panels = {}
    lines: tuple[tuple[str, Name], ...] = (("lane", "lane"), ("vCache", "vcache"), ("cosine", "cosine"))
    for one in all_walked:
        if any(tally.hits and tally.answerable for (name, _), tally in one.runs.items() if name == "cosine"):
            panels[one.name] = {label: list(_points(one, name)) for label, name in lines}
    return plot.svg(panels)


def _points(one: Walked, policy: Name) -> Iterator[plot.Point]:
    for (name, _), tally in sorted(one.runs.items()):
        if name == policy:
            yield tally.served_share, tally.wrong_rate


def _kept(tally: Tally) -> bool:
    return tally.wrong <= DEFAULT * tally.hits


def _of(some: int, every: int) -> str:
    return f"{some} / {every}" + ("" if some >= HELD_GOAL * every else " **<**")


def _rate(wrong: int, hits: int) -> str:
    return f"{wrong} / {hits} = {_percent(wrong / hits) if hits else '-'}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
