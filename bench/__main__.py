"""`make bench`: every benchmark in turn, one table, and `bench/out/bench.json`.

Each one starts what it needs on the loopback interface and ends it. Ratios compare two things measured in the same
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

from bench.engine import PARTS as ENGINE
from bench.engine.goals import markdown, verdicts
from bench.figures import METHOD
from bench.lookup import PARTS as LOOKUP
from bench.processes import ROOT
from bench.rows import Row, Scale, show

SUITES = ("exact", "semantic", "passthrough", "prefix", "decode", "drafts", "eviction")
GROUPS = {
    name: tuple(f"{name}.{part}" for part in parts) for name, parts in (("engine", ENGINE), ("lookup", LOOKUP))
}  # longer ones, run when they are named
OUT = ROOT / "bench" / "out" / "bench.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites; returns the exit status: 1 when one of them failed."""
    options = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    scale = Scale(quick=options.quick, large=options.large)
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in [part for suite in options.suites or SUITES for part in GROUPS.get(suite, (suite,))]:
        started = time.perf_counter()
        try:
            rows += _suite(name)(scale)
        except Exception as error:  # the root of a suite: the others run all the same, and the failure is told
            failures[name] = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        console.print(f"{name}: {time.perf_counter() - started:.0f} s {failures.get(name, '')}", highlight=False)
        _save(options.out, rows, failures, scale)  # what is measured is kept, however the rest ends
    show(console, rows)
    console.print(f"{METHOD}; {_machine()['cpus']} cores, load {_machine()['load']}", highlight=False)
    if reached := verdicts(rows):
        print(f"\n{markdown(reached)}\n")  # as it is: to be copied
    if scale.quick:
        console.print("--quick: a smoke test, the figures mean little", highlight=False)
    return 1 if failures else 0


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
        "goals": [verdict.as_json() for verdict in verdicts(rows)],
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
        help=f"of {', '.join(SUITES)} (the default), {', '.join(GROUPS)}, PART.OF.ONE",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test of a minute or two")
    parser.add_argument("--large", action="store_true", help="decode also on a random model of 135 M parameters")
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON goes (bench/out/bench.json)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
