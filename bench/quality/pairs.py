"""What the verifier is worth on labelled pairs: `python -m bench.quality.pairs [FILE...] [--shipped]`.

Per file, all on the same embeddings: cosine; the shipped kind of verifier with the file's own source left out of its
fit (pairs and stream alike); the same as it is served, after the guards; and a verifier fitted on half of the file's
pairs, judged on the other half, over `SEEDS` splits, beginning from the one that had not seen the source. Recall is the
share of right pairs above the best threshold at which wrong hits / hits are at most 5 %. Chinese files are listed
though the bundled embedder refuses their texts in earnest. Writes bench/out/pairs.json.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.datasets import DataError
from bench.quality.fit import fit_prior
from bench.quality.sources import Source, load_sources
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, load_verifier
from embeddings.verifier.features import FEATURES
from embeddings.verifier.fitting import fit_rows
from embeddings.verifier.logistic import Numbers

OUT = Path(__file__).resolve().parents[1] / "out" / "pairs.json"
SEEDS = 10
WRONG = 0.05  # of hits
GOALS = {"disfl_qa": 0.70, "banking77": 0.70, "spider": 0.55, "gsm_plus": 0.25}
_COSINE = FEATURES.index("cosine")


@dataclass(frozen=True, slots=True)
class Score:
    """One way to judge the pairs of a file."""

    auc: float
    recall: float  # at WRONG
    ece: float  # expected calibration error, ten bins


@dataclass(frozen=True, slots=True)
class Report:
    """One file."""

    file: str
    count: int
    right: int
    cosine: Score
    left_out: Score
    served: Score  # left out, and what a guard refuses is no hit
    fitted: Score  # mean over splits
    fit_s: float


def main(arguments: Sequence[str]) -> int:
    embedder = SentenceTransformerEmbedder().load()
    try:
        sources = load_sources(embedder)
    except DataError as exc:
        print(f"no evaluation data: {exc}")
        return 0
    shipped = load_verifier(embedder.fingerprint)
    print(f"embedder {embedder.fingerprint}, shipped {shipped.name}")
    print(f"AUC / recall at 5 % wrong hits / expected calibration error; fitted: half on half, mean of {SEEDS} splits")
    print(f"{'':14s} {'pairs':>6s} {'cosine':>13s} {'left out':>19s} {'and guards':>13s} {'fitted':>19s}  goal   fit")
    reports = []
    asked = [argument for argument in arguments if not argument.startswith("-")]
    for source in [source for source in sources if not source.is_stream and (not asked or source.origin in asked)]:
        others = [other for other in sources if other.origin != source.origin]
        prior = shipped if "--shipped" in arguments else fit_prior(others, shipped.family)
        reports.append(report_of(source, prior))
        print(_line(reports[-1]), flush=True)
    if not asked:
        print(_macro(reports))
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps([asdict(report) for report in reports], indent=1))
    return 0


def report_of(source: Source, prior: Verifier) -> Report:
    """Everything about one file, given a verifier that may not have seen it."""
    labels = source.labels
    said = prior.probabilities(source.pairs)
    fitted, seconds = [], []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(labels))
        half, other = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        started = time.perf_counter()
        verifier = fit_rows(source.pairs.take(half), labels[half], source.folds[half], prior)
        seconds.append(time.perf_counter() - started)
        fitted.append(score(labels[other], verifier.probabilities(source.pairs.take(other))))
    return Report(
        source.origin,
        len(labels),
        int(labels.sum()),
        score(labels, source.pairs.features[:, _COSINE].astype(np.float64)),
        score(labels, said),
        score(labels, np.where(source.is_refused, 0.0, said)),
        Score(*(float(np.mean([getattr(one, name) for one in fitted])) for name in Score.__slots__)),
        float(np.median(seconds)),
    )


def score(labels: Numbers, said: Numbers) -> Score:
    return Score(auc(labels, said), recall_at(labels, said, WRONG), calibration_error(labels, said))


def auc(labels: Numbers, said: Numbers) -> float:
    """The chance that a right pair stands above a wrong one; ties count half. NaN where one kind is missing."""
    right, wrong = np.sort(said[labels > 0.5]), np.sort(said[labels <= 0.5])
    if not len(right) or not len(wrong):
        return float("nan")
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / (2 * len(wrong)))


def recall_at(labels: Numbers, said: Numbers, wrong: float) -> float:
    """The largest share of right pairs above a threshold where wrong hits / hits are at most `wrong`."""
    order = np.argsort(-said, kind="stable")
    hits = np.arange(1, len(order) + 1)
    bad = np.cumsum(labels[order] <= 0.5)
    is_threshold: NDArray[np.bool_] = np.append(said[order][1:] != said[order][:-1], True)
    allowed = is_threshold & (bad <= wrong * hits)
    return float((hits - bad)[allowed].max(initial=0) / max(labels.sum(), 1.0))


def calibration_error(labels: Numbers, said: Numbers, bins: int = 10) -> float:
    """How far the probability is from the share of right pairs, over bins of equal width."""
    place = np.clip((said * bins).astype(np.int64), 0, bins - 1)
    parts = [place == number for number in range(bins)]
    return float(sum(part.mean() * abs(labels[part].mean() - said[part].mean()) for part in parts if part.any()))


def _line(report: Report) -> str:
    parts = [f"{report.file:14s} {report.count:6d}  {report.cosine.auc:.3f} {100 * report.cosine.recall:5.1f}%"]
    for one in (report.left_out, report.served, report.fitted):
        ece = "" if one is report.served else f" {one.ece:.3f}"
        parts.append(f" {one.auc:.3f} {100 * one.recall:5.1f}%{ece}")
    goal = f"{100 * GOALS[report.file]:4.0f}%" if report.file in GOALS else "   - "
    return " ".join(parts) + f"  {goal} {report.fit_s:4.1f}s"


def _macro(reports: Sequence[Report]) -> str:
    english = [report for report in reports if report.file in GOALS]
    alone = float(np.mean([report.left_out.recall for report in english]))
    served = float(np.mean([report.served.recall for report in english]))
    return f"left out, macro recall over {', '.join(GOALS)}: {100 * alone:.1f} %, after the guards {100 * served:.1f} %"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
