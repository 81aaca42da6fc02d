"""`python -m bench.quality [--full] [--seeds N] [--fits] [--jobs N] [--docs]`: streams, the promise, GPTCache's replay.

By default three shuffles at every target; `--full`: twenty. A lane's own verifier is fitted in the streams' own order,
and with `--fits` in the shuffles, which then take ten times as long. Every walk is told as it ends and kept until the
code changes, so a run that was cut short goes on. Written to bench/out/quality.md, .svg and quality-wrong.tsv; `--docs`
puts tables and picture into docs/, too. Pairs have their own: `python -m bench.quality.pairs`.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.datasets import DATA
from bench.processes import ROOT
from bench.quality import audit, docs
from bench.quality.jobs import kept_file, run_all
from bench.quality.loading import load
from bench.quality.report import fits_line, gptcache_table, picture, promise_table, streams_table, walked
from bench.quality.risk import Run, Runner, own_order, shuffles
from bench.quality.streams import STREAMS

FEW, MANY = 3, 20
OUT = ROOT / "bench" / "out"
REPLAY = "gptcache_mock_replay"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("streams", nargs="*", default=list(STREAMS), help="all by default")
    parser.add_argument("--full", action="store_true", help="twenty shuffles at every target")
    parser.add_argument("--seeds", type=int, help="so many shuffles instead")
    parser.add_argument("--fits", action="store_true", help="shuffles with refits of the lane's own verifier, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--docs", action="store_true", help="write docs/quality.md and .svg, too")
    options = parser.parse_args(argv)
    if not (DATA / "streams").is_dir():
        print(f"no evaluation data: there is no {DATA / 'streams'}")
        return 0
    seeds = range(1, 1 + (options.seeds if options.seeds is not None else MANY if options.full else FEW))
    kept, started = kept_file(), time.perf_counter()
    runners = load(options.streams)
    own = run_all(own_order(options.streams), runners, options.jobs, kept, _tell)
    _save(own, [], runners)
    others = run_all(shuffles(options.streams, seeds, is_fitted=options.fits), runners, options.jobs, kept, _tell)
    tables = _save(own, others, runners)
    print("", *tables.values(), f"{len(own) + len(others)} walks, {time.perf_counter() - started:.0f} s", sep="\n\n")
    if options.docs:
        docs.put(ROOT / "docs" / "quality.md", tables)
        (ROOT / "docs" / "quality.svg").write_text(picture(walked(own)), "utf-8")
    return 0


def _save(own: Sequence[Run], others: Sequence[Run], runners: Mapping[str, Runner]) -> dict[str, str]:
    """Write what there is, and give its tables by name."""
    streams, every = {name: runner.stream for name, runner in runners.items()}, walked(own)
    tables = {"streams": streams_table(every)}
    if (replay := next((one for one in every if one.name == REPLAY), None)) is not None:
        tables["gptcache"] = gptcache_table(replay)
    if others:
        seeds = len({run.task.seed for run in others})
        tables["promise"] = f"{seeds} shuffles each. {fits_line(others)}\n\n{promise_table(others, streams)}"
    _write(OUT / "quality.md", "\n\n".join(tables.values()) + "\n")
    _write(OUT / "quality.svg", picture(every))
    audit.write(OUT / "quality-wrong.tsv", audit.wrong_rows([*own, *others], streams))
    return tables


def _tell(run: Run) -> None:
    tally, task = run.tally, run.task
    order = "own order" if task.seed is None else f"shuffle {task.seed}"
    print(
        f"{task.stream}, {task.policy} {task.at:g}, {order}: {100 * tally.served_share:.1f} %,"
        f" {tally.wrong} of {tally.hits}, {run.seconds:.1f} s",
        flush=True,
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
