"""`twicetold calibrate`: fit the verifier to pairs that somebody labelled, or to the labels of a data directory.

Pairs are a tab-separated file with a header, gzipped or not: `label` (1: one answer serves both, 0: it does not),
`query_a`, `query_b`. Pairs of one question stay together; a part of them is held back, and what is printed is judged on
that part, beside the verifier in use. Only what is better there goes on the shelf of the data directory: of pairs for
every lane without one of its own, of labels for the lane they came from.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from embeddings.base import Embedder
from embeddings.verifier import Verifier, dump, load_verifier
from embeddings.verifier.fitting import FEWEST, fit_rows
from embeddings.verifier.model import Pairs, pairs_of
from gateway.answers.base import CacheError
from gateway.cli.terminal import Screen
from gateway.offline.rows import FileError, table
from gateway.semantic.labels import read_all
from gateway.semantic.learner import joined, latest
from gateway.semantic.refit import BETTER, Work, folds_of, log_loss, refit
from gateway.semantic.rule import LaneKey
from gateway.semantic.shelf import Shelf, shipped

HELD_FOLD = 0  # of five
COLUMNS = ("label", "query_a", "query_b")
TOGETHER = 32  # texts read at once
TARGETS = (0.01, 0.05)


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled pair."""

    a: str
    b: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """What came of one fit. Losses are of what was held back; `path` is where it went, if it was better."""

    name: str
    pairs: int
    loss_in_use: float | None = None
    loss: float | None = None
    path: str | None = None


def calibrate(path: Path | None, data_dir: Path, load: Callable[[], Embedder], *, as_json: bool = False) -> int:
    """Fit, print, and keep what is better; returns the exit status."""
    console = Screen(width=None if sys.stdout.isatty() else 120, quiet=as_json)
    shelf = Shelf(data_dir / "verifiers")
    try:
        if path is not None:
            done = [_from_pairs(list(read_pairs(path)), str(path), shelf, load(), console)]
        else:
            done = list(_from_labels(data_dir, shelf, load, console))
    except (FileError, CacheError) as error:
        print(f"twicetold: {error}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps([asdict(one) for one in done], indent=2))
    return 0


def read_pairs(path: Path) -> Sequence[Row]:
    """The pairs of a file. Raises `FileError`."""
    rows = []
    for where, row in table(path, COLUMNS):
        if row["label"] not in ("0", "1"):
            raise FileError(f"{where}: label must be 0 or 1, got {row['label']!r}")
        for name in ("query_a", "query_b"):
            if not row[name].strip():
                raise FileError(f"{where}: {name} is empty")
        rows.append(Row(row["query_a"], row["query_b"], row["label"] == "1"))
    return rows


def numbers_of(rows: Sequence[tuple[str, str]], embedder: Embedder) -> tuple[Pairs, NDArray[np.bool_]]:
    """What a verifier sees of every pair the embedder can see whole, and which those are."""
    fits = np.array([embedder.fits(a) and embedder.fits(b) for a, b in rows])
    seen = [row for row, is_seen in zip(rows, fits, strict=True) if is_seen]
    parts = []
    for at in range(0, len(seen), TOGETHER):
        some = seen[at : at + TOGETHER]
        readings = embedder.read([text for pair in some for text in pair])
        parts.append(pairs_of(list(zip(readings[::2], readings[1::2], strict=True))))
    if not parts:
        raise FileError("the embedder can see none of these pairs whole")
    return joined(parts), fits


def _from_pairs(rows: Sequence[Row], name: str, shelf: Shelf, embedder: Embedder, console: Screen) -> Fit:
    if len(rows) < FEWEST:
        raise FileError(
            f"{name}: {len(rows)} pairs are too few; at least {FEWEST} are needed, with some of either kind"
        )
    pairs, fits = numbers_of([(row.a, row.b) for row in rows], embedder)
    kept = [row for row, is_seen in zip(rows, fits, strict=True) if is_seen]
    labels = np.array([row.is_right for row in kept], np.float64)
    folds = folds_of([row.a for row in kept])
    held = folds == HELD_FOLD
    if not 0 < labels[held].sum() < held.sum() or not 0 < labels[~held].sum() < (~held).sum():
        raise FileError(f"{name}: both labels are needed on both sides; there are {int(labels.sum())} of 1")
    in_use = shelf.in_use(LaneKey("", ""), embedder.fingerprint)
    start = load_verifier(embedder.fingerprint)
    tried = fit_rows(pairs.take(~held), labels[~held], folds[~held], start)
    _show(name, pairs.take(held), labels[held], (in_use.name, in_use.verifier), tried, console)
    losses = [log_loss(verifier, pairs.take(held), labels[held]) for verifier in (tried, in_use.verifier)]
    if losses[0] > BETTER * losses[1]:
        console.print("Not better on what was held back: the one in use stays.")
        return Fit(name, len(kept), losses[1], losses[0])
    path = shelf.put(None, dump(fit_rows(pairs, labels, folds, start)), embedder.fingerprint)
    console.print(f"Written to {path}; a server that runs takes it at its next start.", soft_wrap=True)
    return Fit(name, len(kept), losses[1], losses[0], str(path))


def _from_labels(data_dir: Path, shelf: Shelf, load: Callable[[], Embedder], console: Screen) -> Iterator[Fit]:
    lanes = read_all(data_dir / "labels.db")
    embedder = load()
    for lane, every in lanes.items():
        name = f"tenant {lane.tenant}, route {lane.route}"
        kept = latest([one for one in every if one.label.question and one.label.stored])
        if len(kept) < FEWEST:
            console.print(f"{name}: {len(kept)} labels with words are too few; at least {FEWEST} are needed.")
            yield Fit(name, len(kept))
            continue
        pairs, fits = numbers_of([(one.label.question, one.label.stored) for one in kept], embedder)
        kept = [one for one, is_seen in zip(kept, fits, strict=True) if is_seen]
        in_use = shelf.in_use(lane, embedder.fingerprint)
        outcome = refit(
            Work(
                pairs,
                np.array([one.label.is_right for one in kept], np.float64),
                folds_of([one.label.stored for one in kept]),
                sum(one.seq <= in_use.until_seq for one in kept),
                shipped(embedder.fingerprint),
                dump(in_use.verifier),
            )
        )
        said = f"{name}: {len(kept)} labels, {outcome.held} held back; log loss {outcome.loss_in_use:.3f} in use"
        if not outcome.verifier:
            console.print(f"{said}, {outcome.loss:.3f} fitted: the one in use stays.", soft_wrap=True)
            yield Fit(name, len(kept), outcome.loss_in_use, outcome.loss)
            continue
        path = shelf.put(lane, outcome.verifier, embedder.fingerprint, kept[-1].seq)
        console.print(f"{said}, {outcome.loss:.3f} fitted: written to {path}.", soft_wrap=True)
        yield Fit(name, len(kept), outcome.loss_in_use, outcome.loss, str(path))


def _show(
    name: str,
    pairs: Pairs,
    labels: NDArray[np.float64],
    in_use: tuple[str, Verifier],
    fitted: Verifier,
    console: Screen,
) -> None:
    shown = Table(title=f"{name}: {len(labels)} pairs held back", title_justify="left", show_edge=False)
    for heading in ("verifier", "log loss", "AUC", *(f"served at {target:.0%} wrong" for target in TARGETS)):
        shown.add_column(heading, justify="right")
    cosine = np.einsum("ij,ij->i", pairs.left, pairs.right).astype(np.float64)
    shown.add_row("cosine alone", "", *_quality(cosine, labels))
    for title, verifier in ((f"in use ({in_use[0]})", in_use[1]), ("fitted", fitted)):
        loss = f"{log_loss(verifier, pairs, labels):.3f}"
        shown.add_row(title, loss, *_quality(verifier.probabilities(pairs), labels))
    console.print(shown)


def _quality(said: NDArray[np.float64], labels: NDArray[np.float64]) -> list[str]:
    return [f"{auc(said, labels):.3f}", *(f"{recall(said, labels, target):.1%}" for target in TARGETS)]


def auc(said: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """The chance that a right pair stands above a wrong one; a tie counts half."""
    right, wrong = said[labels > 0.5], np.sort(said[labels < 0.5])
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / (2 * len(wrong)))


def recall(said: NDArray[np.float64], labels: NDArray[np.float64], target: float) -> float:
    """The share of right pairs above the lowest threshold at which at most `target` of what is above is wrong."""
    order = np.argsort(-said, kind="stable")
    is_last = np.append(np.diff(said[order]) != 0, True)  # a threshold cannot part equals
    wrong = np.cumsum(1 - labels[order])
    allowed = is_last & (wrong <= target * np.arange(1, len(order) + 1))
    served = np.cumsum(labels[order])[allowed]
    return float(served.max() / labels.sum()) if len(served) else 0.0
