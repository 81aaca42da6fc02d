"""The report on streams: every policy on the same embeddings in one run, beside the goals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.quality import gptcache, plot
from bench.quality.fit import fit_prior
from bench.quality.policies import FixedCosine
from bench.quality.readings import readings_of
from bench.quality.risk import TARGETS, Run, runs, serve
from bench.quality.sources import Source, load_sources
from bench.quality.streams import STREAMS, Stream, load_asked
from bench.quality.vcache import VCache
from bench.quality.walk import Tally, tally_of, walk
from embeddings.control.risk import clopper_pearson
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, load_verifier

DEFAULT = 0.01
COSINES = (*(round(0.70 + 0.03 * step, 2) for step in range(6)), *(round(0.88 + 0.01 * step, 2) for step in range(12)))
GOALS = {"clinc150_static": 0.55, "banking77": 0.30, "disfl_qa": 0.35, "spider": 0.10, "mixed_zipf": 0.90}
MOST_WRONG_OF_ALL = {"gsm_plus": 0.005, "arena_hard_distinct": 0.005}
# what mixed_zipf is made of
MIXED = (
    "clinc150",
    "disfl_qa",
    "spider",
    "gsm_plus",
    "arena_hard_distinct",
    "xquad_en_zh",
)


@dataclass(frozen=True, slots=True)
class Walked:
    """One stream in its own order."""

    name: str
    lanes: dict[float, Tally]  # by target, verifier fitted with the source left out
    shipped: Tally  # at the default target, the verifier that has seen the source
    cosines: dict[float, Tally]  # by threshold
    vcaches: dict[float, Tally]  # by delta

    @property
    def best_cosine(self) -> float:
        """The fixed cosine that hindsight would have chosen: most served at the target."""
        kept = [(tally.served_share, -threshold) for threshold, tally in self.cosines.items() if _kept(tally)]
        return -max(kept)[1] if kept else 1.0


def load(names: Sequence[str] = STREAMS) -> tuple[list[Stream], list[Source], Verifier]:
    """Streams with their readings, what verifiers are fitted on, and the shipped one."""
    embedder = SentenceTransformerEmbedder().load()
    asked = {name: load_asked(name) for name in names}
    readings = readings_of([one.text for prompts in asked.values() for one in prompts], embedder)
    streams = [Stream(name, prompts, readings, embedder.fingerprint, embedder.fits) for name, prompts in asked.items()]
    return streams, load_sources(embedder), load_verifier(embedder.fingerprint)


def left_out(name: str, sources: Sequence[Source], shipped: Verifier) -> Verifier:
    """The shipped kind of verifier, fitted without the source of this stream."""
    own = MIXED if name == "mixed_zipf" else (name.removesuffix("_static").removesuffix("_replay"),)
    return fit_prior([source for source in sources if source.origin not in own], shipped.family)


def walked(stream: Stream, verifier: Verifier, shipped: Verifier) -> Walked:
    try:
        return Walked(
            stream.name,
            {target: serve(stream, verifier, target, None) for target in TARGETS},
            serve(stream, shipped, DEFAULT, None),
            {at: tally_of(walk(stream, stream.asked, FixedCosine(at))) for at in COSINES},
            {delta: tally_of(walk(stream, stream.asked, VCache(delta))) for delta in TARGETS},
        )
    finally:
        stream.memo.save()


def shuffled(stream: Stream, verifier: Verifier, targets: Sequence[float], seeds: Sequence[int]) -> Iterator[Run]:
    try:
        yield from runs(stream, verifier, targets, seeds)
    finally:
        stream.memo.save()


def streams_table(all_walked: Sequence[Walked]) -> list[str]:
    """The main table, as Markdown."""
    lines = [
        "| stream | policy | served of answerable | wrong / hits (95 %) | wrong / all | spent on learning | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in all_walked:
        best = one.best_cosine
        rows: list[tuple[str, Tally]] = [
            ("**lane, 1 %**", one.lanes[DEFAULT]),
            ("lane, shipped verifier (in sample)", one.shipped),
            (
                f"best cosine in hindsight ({best:.2f})" if best < 1 else "no cosine keeps 1 %",
                one.cosines.get(best, Tally()),
            ),
            ("cosine 0.90", one.cosines[0.90]),
            ("cosine 0.95", one.cosines[0.95]),
            ("vCache, delta 1 %", one.vcaches[DEFAULT]),
        ]
        for n, (policy, tally) in enumerate(rows):
            lines.append(_line(one.name if n == 0 else "", policy, tally, _goal(one) if n == 0 else ""))
    return lines


def _line(name: str, policy: str, tally: Tally, goal: str) -> str:
    low, high = clopper_pearson(tally.wrong, tally.hits, 0.975) if tally.hits else (0.0, 1.0)
    rate = f"{tally.wrong} / {tally.hits} = {_percent(tally.wrong_rate)} ({_percent(low)} to {_percent(high)})"
    of_all = _percent(tally.wrong / tally.prompts) if tally.prompts else "-"
    share = _percent(tally.served_share) if tally.answerable else "-"
    return f"| {name} | {policy} | {share} | {rate if tally.hits else 'no hit'} | {of_all} | {tally.spent} | {goal} |"


def _goal(one: Walked) -> str:
    tally = one.lanes[DEFAULT]
    if (share := GOALS.get(one.name)) is not None:
        is_met = tally.served_share >= share and _kept(tally)
        return f"{_percent(share)} at 1 %: {'met' if is_met else 'MISSED'}"
    if (most := MOST_WRONG_OF_ALL.get(one.name)) is not None:
        return f"wrong / all {_percent(most)}: {'met' if tally.wrong <= most * tally.prompts else 'MISSED'}"
    return ""


def promise_table(all_runs: Sequence[Run]) -> list[str]:
    """Shuffles: how often the promise held."""
    lines = ["| target | stream | runs at or below | pooled wrong / hits | served, mean |", "|---|---|---|---|---|"]
    for target in sorted({run.target for run in all_runs}):
        here = [run for run in all_runs if run.target == target]
        names = dict.fromkeys(run.stream for run in here)
        lines += [_held(f"{100 * target:g} %", name, [run for run in here if run.stream == name]) for name in names]
        lines.append(_held(f"**{100 * target:g} %**", "**all**", here))
    return lines


def _held(target: str, name: str, some: Sequence[Run]) -> str:
    wrong, hits = sum(run.tally.wrong for run in some), sum(run.tally.hits for run in some)
    kept = sum(run.is_kept for run in some)
    share = sum(run.tally.served_share for run in some) / len(some)
    rate = _percent(wrong / hits) if hits else "-"
    return f"| {target} | {name} | {kept} / {len(some)} | {wrong} / {hits} = {rate} | {_percent(share)} |"


def gptcache_table(one: Walked) -> list[str]:
    lines = ["| policy | right | wrong | missed |", "|---|---|---|---|"]
    lines += [f"| GPTCache, as published | {a} | {b} | {c} |" for a, b, c in gptcache.PUBLISHED]
    for policy, tally in (
        *((f"lane, {100 * target:g} %", tally) for target, tally in one.lanes.items()),
        *((f"cosine {at:.2f}", one.cosines[at]) for at in (0.82, 0.90, 0.95)),
    ):
        found = gptcache.scores(tally)
        lines.append(f"| {policy} | {found.right} | {found.wrong} | {found.missed} |")
    return lines


def picture(all_walked: Sequence[Walked]) -> str:
    """The plot, as SVG."""
    panels = {}
    for one in all_walked:
        if any(tally.hits and tally.answerable for tally in one.cosines.values()):
            of = {"lane": one.lanes, "vCache": one.vcaches, "cosine": one.cosines}
            panels[one.name] = {
                policy: [(tally.served_share, tally.wrong_rate) for _, tally in sorted(tallies.items())]
                for policy, tallies in of.items()
            }
    return plot.svg(panels)


def save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _kept(tally: Tally) -> bool:
    return tally.wrong <= DEFAULT * tally.hits


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
