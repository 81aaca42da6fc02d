"""`python -m bench.quality [--full] [--seeds N] [--docs]`: streams, the promise over shuffles, GPTCache's protocol.

By default three shuffles at every target; `--full`: twenty. Written to bench/out/quality.md and .svg as it goes;
`--docs` puts the picture into docs/. Pairs have their own: `python -m bench.quality.pairs`.
"""

import argparse
import sys
from collections.abc import Sequence

from bench.datasets import DATA
from bench.processes import ROOT
from bench.quality.report import (
    gptcache_table,
    left_out,
    load,
    picture,
    promise_table,
    save,
    shuffled,
    streams_table,
    walked,
)  # fmt: skip
from bench.quality.risk import TARGETS, Run

FEW, MANY = 3, 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("--full", action="store_true", help="twenty shuffles at every target")
    parser.add_argument("--seeds", type=int, help="so many shuffles instead")
    parser.add_argument("--docs", action="store_true", help="write docs/quality.svg, too")
    options = parser.parse_args(argv)
    if not (DATA / "streams").is_dir():
        print(f"no evaluation data: there is no {DATA / 'streams'}")
        return 0
    seeds = range(1, 1 + (options.seeds if options.seeds is not None else MANY if options.full else FEW))
    streams, sources, shipped = load()
    all_walked, all_runs, parts = [], list[Run](), list[str]()
    verifiers = {stream.name: left_out(stream.name, sources, shipped) for stream in streams}
    for stream in streams:
        one = walked(stream, verifiers[stream.name], shipped)
        all_walked.append(one)
        print("\n".join(streams_table([one])[0 if len(all_walked) == 1 else 2 :]), flush=True)
    parts.append("\n".join(streams_table(all_walked)))
    parts.append("\n".join(gptcache_table(next(one for one in all_walked if one.name == "gptcache_mock_replay"))))
    print(f"\n{parts[-1]}\n", flush=True)
    save(ROOT / "bench" / "out" / "quality.svg", picture(all_walked))
    if options.docs:
        save(ROOT / "docs" / "quality.svg", picture(all_walked))
    for stream in streams:
        all_runs += shuffled(stream, verifiers[stream.name], TARGETS, seeds)
        save(ROOT / "bench" / "out" / "quality.md", "\n\n".join([*parts, "\n".join(promise_table(all_runs))]) + "\n")
        print(stream.name, flush=True)
    print("\n".join(promise_table(all_runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
