"""`python -m bench.routing`: hits and first tokens under every policy, and affinity when something goes wrong."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from bench.processes import ROOT
from bench.routing import cost
from bench.routing.cells import Cell, absent, cases, run, stays, troubles
from bench.rows import Scale, show

OUT = ROOT / "bench" / "out" / "routing.json"
GOAL = 0.9
SATURATED_S = 10.0  # where least load's p90 is beyond this, requests come faster than they are answered


def main(argv: Sequence[str] | None = None) -> int:
    """Run it all; the exit status is 1 where a goal is missed."""
    options = _parser().parse_args(argv)
    started = time.perf_counter()
    if reason := absent():
        print(f"without the Mooncake trace: {reason}")
    console = Console(width=None if sys.stdout.isatty() else 150)
    show(console, cost.rows(Scale(quick=options.quick)))
    cells = []
    for case in cases(is_quick=options.quick):
        cell, _ = run(case, is_quick=options.quick)
        cells.append(cell)
        print(_line(cell), flush=True)
    print("\n" + markdown(cells) + "\n")
    trouble = {}
    if not options.quick:
        for what, case in troubles():
            cell, outcome = run(case)
            trouble[f"{what}, {case.policy}"] = {**cell.as_json(), "stays": stays(outcome)}
            print(f"{what:28s} {_line(cell)} stays {stays(outcome):.3f}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    body = {"quick": options.quick, "cells": [cell.as_json() for cell in cells], "troubles": trouble}
    options.out.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    missed = list(verdicts(cells))
    told = [f"missed{' beyond saturation' if beyond else ''}: {what}" for beyond, what in missed]
    print("\n".join(told) or f"affinity: {GOAL:.0%} of one cache's hits and no later than least load, everywhere")
    print(f"{time.perf_counter() - started:.0f} s")
    return 1 if not options.quick and any(not beyond for beyond, _ in missed) else 0


def verdicts(cells: Iterable[Cell]) -> Iterable[tuple[bool, str]]:
    """Every cell in which affinity misses a goal, and whether it is beyond saturation."""
    by = {(cell.workload, cell.level, cell.policy): cell for cell in cells}
    for (name, level, policy), cell in by.items():
        if policy != "affinity":
            continue
        least = by[name, level, "least_load"]
        beyond = least.p90_s > SATURATED_S
        if cell.of_one_cache < GOAL:
            yield beyond, f"{name} x{level:g}: {cell.of_one_cache:.3f} of the hits of one cache"
        if cell.p90_s > least.p90_s:
            yield beyond, f"{name} x{level:g}: first token p90 {cell.p90_s:.3f} s, least load {least.p90_s:.3f} s"


def markdown(cells: Iterable[Cell]) -> str:
    """A row for every load: hit share (beside one cache's), TTFT and spread of each policy."""
    by: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        by.setdefault((cell.workload, cell.level), []).append(cell)
    lines: list[str] = []
    for (name, level), row in by.items():
        if not lines:
            lines.append("| load | one cache | " + " | ".join(cell.policy for cell in row) + " |")
            lines.append("|---|---|" + "---|" * len(row))
        parts = [f"{cell.hit_share:.1%}; {_time(cell.p50_s)}, {_time(cell.p90_s)}; {cell.spread:.2f}" for cell in row]
        ceiling = row[0].hit_share / row[0].of_one_cache if row[0].of_one_cache else 0.0
        lines.append(f"| {name} x{level:g} | {ceiling:.1%} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _line(cell: Cell) -> str:
    return (
        f"{cell.workload} x{cell.level:<4g} {cell.policy:12s} hits {cell.hit_share:6.1%}, of one cache "
        f"{cell.of_one_cache:.2f}, of an unbounded one {cell.of_unbounded:.2f}, TTFT p50 {cell.p50_s:7.3f} s, "
        f"p90 {cell.p90_s:7.3f} s, spread {cell.spread:.2f}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description="Routing policies, simulated.")
    parser.add_argument("--quick", action="store_true", help="a smoke test of seconds")
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON goes (bench/out/routing.json)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
