"""`python -m bench.fuzz --cases 200000`: every target, and what came of it. Each finding says how to see it again."""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.fuzz.base import Tally, fuzz
from bench.fuzz.targets import TARGETS


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case of each target")
    parser.add_argument("--targets", default="", help=", ".join(one.name for one in TARGETS))
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # what is bad is told at length, hundreds of thousands of times
    chosen = [one for one in TARGETS if not options.targets or one.name in options.targets.split(",")]
    whole = sum(one.share for one in chosen)
    tallies: list[Tally] = []
    for target in chosen:
        count = max(1, round(options.cases * target.share / whole))
        with tempfile.TemporaryDirectory(prefix="twicetold-fuzz-") as folder:
            tally = asyncio.run(fuzz(target, count, options.seed, Path(folder), first=options.first))
        tallies.append(tally)
        _show(tally)
    cases, findings, hangs = (
        sum(getattr(tally, name) for tally in tallies) for name in ("cases", "num_findings", "hangs")
    )
    compared = sum(tally.outcomes["compared with what was kept"] + tally.outcomes["kept"] for tally in tallies)
    print(
        f"\n{cases} cases, {findings} findings, {hangs} of them hangs; {compared} answers compared with what was kept"
    )
    return 1 if findings else 0


def _show(tally: Tally) -> None:
    told = ", ".join(f"{name} {count}" for name, count in tally.outcomes.most_common(8))
    print(f"{tally.name}: {tally.cases} in {tally.took_s:.0f} s, {tally.num_findings} findings, the longest took "
          f"{tally.longest_s:.2f} s: {told}", flush=True)  # fmt: skip
    for finding in tally.findings:
        print(f"  FOUND {finding}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
