"""`make bench`: every area in turn, a table and a picture of each, the goals, and `bench/out/bench.json`.

Each suite starts what it needs on the loopback interface and ends it. Ratios compare two things measured in the same
run, in turns; the absolute figures are this machine's, now.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import plots
from bench.areas import AREAS, goals_of
from bench.engine import PARTS as ENGINE
from bench.engine.goals import markdown, verdicts
from bench.figures import METHOD
from bench.goals import GOALS
from bench.lookup import PARTS as LOOKUP
from bench.processes import ROOT
from bench.rows import Row, Scale, show

GROUPS = {
    name: tuple(f"{name}.{part}" for part in parts) for name, parts in (("engine", ENGINE), ("lookup", LOOKUP))
}  # longer ones, run when they are named
OUT = ROOT / "bench" / "out" / "bench.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites; returns the exit status: 1 when one of them failed."""
    options = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    began = time.perf_counter()
    scale = Scale(quick=options.quick, large=options.large)
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in suites_of(options.suites or tuple(AREAS)):
        started = time.perf_counter()
        try:
            rows += _suite(name)(scale)
        except Exception as error:  # the root of a suite: the others run all the same, and the failure is told
            failures[name] = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        console.print(f"{name}: {time.perf_counter() - started:.0f} s {failures.get(name, '')}", highlight=False)
        _save(options.out, rows, failures, scale)  # what is measured is kept, however the rest ends
    _show(console, rows, options.plots or options.out.parent / "plots")
    took = f"{(time.perf_counter() - began) / 60:.1f} minutes"
    console.print(f"{METHOD}; {_machine()['cpus']} cores, load {_machine()['load']}; {took}", highlight=False)
    if reached := verdicts(rows, GOALS):
        print(f"\n{markdown(reached)}\n")  # as it is: to be copied
    if scale.quick:
        console.print("--quick: a smoke test, the figures mean little", highlight=False)
    return 1 if failures else 0


def suites_of(names: Sequence[str]) -> list[str]:
    """The modules to run for names of areas, of groups, of suites and of parts; each once."""
    wide = {**GROUPS, **{name: area.suites for name, area in AREAS.items()}}
    return list(dict.fromkeys(part for name in names for part in wide.get(name, (name,))))


def _show(console: Console, rows: Sequence[Row], folder: Path) -> None:
    """One table and one picture per area, then what belongs to none."""
    rest = list(rows)
    for name, area in AREAS.items():
        own = area.of(rows)
        rest = [row for row in rest if row not in own]
        if own:
            show(console, own, area.title)
            folder.mkdir(parents=True, exist_ok=True)
            picture = folder / f"{name}.svg"
            picture.write_text(plots.svg(area.title, own, verdicts(own, goals_of(area, rows))), "utf-8")
            console.print(f"{area.title}, as a picture: {picture}", highlight=False)
    if rest:
        show(console, rest)


def _suite(name: str) -> Callable[[Scale], list[Row]]:
    run: Callable[[Scale], list[Row]] = import_module(f"bench.{name}").run
    return run


def _machine() -> dict[str, Any]:
    """Where the figures come from; the load says how quiet it was."""
    return {
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _save(path: Path, rows: Sequence[Row], failures: dict[str, str], scale: Scale) -> None:
    body = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": _machine(),
        "method": METHOD,
        "quick": scale.quick,
        "rows": [row.as_json() for row in rows],
        "goals": [verdict.as_json() for verdict in verdicts(rows, GOALS)],
        "failures": failures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=2) + "\n", "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of a gateway, side by side.")
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=f"an area, of {', '.join(AREAS)} (all of them by default); {', '.join(GROUPS)}; a suite or PART.OF.ONE",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test of a minute or two")
    parser.add_argument(
        "--large", action="store_true", help="decode and drafts also on a random model of 135 M parameters"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON goes (bench/out/bench.json)")
    parser.add_argument("--plots", type=Path, help="where the pictures go (plots/ beside the JSON)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
