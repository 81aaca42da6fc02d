"""`twicetold bench`: the benchmarks, which are a part of the repository and not of what is installed."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway.settings import SettingsError

NOTES = """It runs `bench/` of the clone it is called in, or of the one this `twicetold` was installed from with
`pip install -e`; docs/performance.md tells what each suite measures. Without a SUITE the short ones run.
"""
HERE = Path(__file__).resolve().parents[2]


def add_bench(verbs: Any) -> None:
    verb = verbs.add_parser(
        "bench",
        help="measure the gateway beside others, in a clone of the repository",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument(
        "suites", nargs="*", metavar="SUITE", help="exact, semantic, prefix, engine, ... (the short ones)"
    )
    verb.add_argument("--quick", action="store_true", help="a smoke test of a minute or two")
    verb.add_argument(
        "--large", action="store_true", help="decode and drafts also on a random model of 135 M parameters"
    )
    verb.add_argument("--out", type=Path, metavar="FILE", help="where the figures go as JSON (bench/out/bench.json)")
    verb.set_defaults(run=_bench)


def _bench(args: argparse.Namespace) -> int:
    root = checkout(Path.cwd(), HERE)
    flags = [f"--{name}" for name in ("quick", "large") if getattr(args, name)]
    flags += [] if args.out is None else ["--out", str(args.out.resolve())]
    command = [sys.executable, "-m", "bench", *flags, *args.suites]
    return subprocess.run(command, cwd=root, check=False).returncode  # noqa: S603  (our own)


def checkout(*places: Path) -> Path:
    """The first of some folders that has the benchmarks. Raises `SettingsError`."""
    for place in places:
        if (place / "bench" / "__main__.py").is_file() and (place / "gateway").is_dir():
            return place
    raise SettingsError("no benchmarks here: clone the repository and run make bench in it")
