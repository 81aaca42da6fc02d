"""`twicetold backtest`: what any target would have served of a log, and how much of that would have been wrong.

`prompts.py` says what a log is, `replay.py` drives the lanes through it. A data directory is a log, too: of its stored
labels, in the order they came.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from embeddings.base import Embedder
from embeddings.control import Compares, Label, Lane
from embeddings.verifier import Verifier, conservative
from gateway.answers.base import CacheError
from gateway.cli.terminal import Screen
from gateway.offline.prompts import Prompt, read_log
from gateway.offline.replay import Replay, Tally
from gateway.offline.rows import FileError
from gateway.policy import Rules
from gateway.semantic.labels import Kept, read_all

READ_AHEAD = 32  # prompts


def backtest(
    path: Path,
    targets: Sequence[float],
    load: Callable[[], tuple[Embedder, Verifier]],
    *,
    shadow_rate: float,
    rules: Rules,
    limit: int | None = None,
    fits: bool = False,
    as_json: bool = False,
) -> int:
    """Print what each target would have come to; returns the exit status."""
    try:
        reports = _backtest(path, targets, load, shadow_rate, rules, limit, fits)
    except (FileError, CacheError) as error:
        print(f"twicetold: {error}", file=sys.stderr)
        return 2
    if not reports:
        print(f"twicetold: {path} has nothing to replay", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(reports, indent=2))
        return 0
    for name, tallies in reports.items():
        _show(name, tallies)
    return 0


def _backtest(
    path: Path,
    targets: Sequence[float],
    load: Callable[[], tuple[Embedder, Verifier]],
    shadow_rate: float,
    rules: Rules,
    limit: int | None,
    fits: bool,
) -> dict[str, list[dict[str, Any]]]:
    if path.is_dir():
        lanes = read_all(path / "labels.db")
        nobody = conservative()  # what is stored has been compared already
        return {
            f"{path}: labels of {lane.tenant}, route {lane.route}": [
                tally.report() for tally in replay_labels(kept, nobody, targets, shadow_rate)
            ]
            for lane, kept in lanes.items()
        }
    prompts = list(read_log(path, limit))
    if not prompts:
        return {}
    embedder, verifier = load()
    replay = Replay(embedder, verifier, targets, shadow_rate, rules, fits=fits)
    asyncio.run(_all(replay, prompts))
    for bench in replay.benches:
        bench.tally.threshold = bench.lane.threshold
    return {str(path): [bench.tally.report() for bench in replay.benches]}


def replay_labels(
    kept: Sequence[Kept], verifier: Compares, targets: Sequence[float], shadow_rate: float
) -> list[Tally]:
    """What each target would have made of the questions that stored labels are about."""
    tallies = []
    for target in targets:
        tally, lane = Tally(target), Lane(verifier, target=target, shadow_rate=shadow_rate)
        for label in _last_words([one.label for one in kept]):
            if label.was_eligible:
                tally.prompts += 1
                tally.answerable += label.is_right
                if lane.serves_wording if label.is_wording else label.probability >= lane.threshold:
                    tally.semantic += 1
                    tally.wrong += not label.is_right
            lane.learn(label)
            tally.labels += 1
        tally.threshold = lane.threshold
        tallies.append(tally)
    return tallies


def _last_words(labels: Sequence[Label]) -> list[Label]:
    """What was said first and then corrected counts as it was said last."""
    said: list[Label] = []
    for label in labels:
        if label.corrects:
            places = range(len(said) - 1, -1, -1)
            about = (label.source, label.question, label.entry)
            place = next((n for n in places if (said[n].source, said[n].question, said[n].entry) == about), None)
            if place is not None:
                said[place] = replace(label, corrects=False)
                continue
        said.append(label)
    return said


async def _all(replay: Replay, prompts: Sequence[Prompt]) -> None:
    for at in range(0, len(prompts), READ_AHEAD):
        some = prompts[at : at + READ_AHEAD]
        replay.read_ahead(some)
        for prompt in some:
            await replay.ask(prompt)


def _show(name: str, reports: Sequence[dict[str, Any]]) -> None:
    table = Table(title=name, title_justify="left", show_edge=False)
    for heading in ("target", "prompts", "served", "of answerable", "exact", "semantic", "wrong", "wrong / semantic",
                    "95 % interval", "generated to learn", "labels", "fits", "threshold"):  # fmt: skip
        table.add_column(heading, justify="right")
    for one in reports:
        right = one["exact"] + one["semantic"] - one["wrong"]
        rate = one["wrong_hit_rate"]
        table.add_row(
            f"{one['target']:.2%}",
            f"{one['prompts']:,}",
            _share(one["exact"] + one["semantic"], one["prompts"]),
            _share(right, one["answerable"]),
            f"{one['exact']:,}",
            f"{one['semantic']:,}",
            f"{one['wrong']:,}" + (f" (+{one['unknown']} unknown)" if one["unknown"] else ""),
            "" if rate is None else f"{rate:.2%}",
            f"{one['lower']:.2%} - {one['upper']:.2%}",
            f"{one['sampled']:,}",
            f"{one['labels']:,}",
            str(one["fits"]),
            f"{one['threshold']:.3f}",
        )
    Screen(width=None if sys.stdout.isatty() else 170).print(table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
