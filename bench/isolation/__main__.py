"""`python -m bench.isolation --pairs 100000`: pairs in every house, twice: the second time after a restart."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.isolation.commons import CommonPairs, Heard
from bench.isolation.pairs import Pairs
from bench.isolation.prefixes import PrefixPairs
from bench.isolation.scraped import scrape
from bench.isolation.town import LEAST, give_keys, house
from bench.isolation.watch import Watch
from bench.redis_server import redis_server

SHARES = {"exact": 0.835, "file": 0.1, "redis": 0.04, "commons": 0.02, "kv": 0.005}
DIFFERENCES = ("same", "tenant", "namespace", "salt", "model", "swapped", "another beginning")
STARTS = 2
_NAMES = {"first": "asked first", "same": "the same scope", "swapped": "swapped walls"}


async def run(kind: str, count: int, seed: int) -> Watch:
    """`count` pairs against one house, which is closed and opened again on the way."""
    watch, keys, known = Watch(), list[tuple[str, ...]](), set[tuple[str, ...]]()
    heard: Heard = defaultdict(set)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-isolation-")))
        url = stack.enter_context(redis_server(folder)) if kind == "redis" else ""
        for start in range(STARTS):
            rng = random.Random(f"{seed} {kind} {start}")
            async with house(kind, folder, redis=url) as home:
                keys = keys or await give_keys(home)
                some = count // STARTS + (count % STARTS if start == 0 else 0)
                if kind == "kv":
                    await PrefixPairs(home, keys, rng, watch, known).run(some)
                elif kind == "commons":
                    await CommonPairs(home, keys, rng, LEAST, watch, heard).run(some)
                else:
                    await Pairs(home, keys, rng, watch).run(some)
                await scrape(home, keys, watch)
    return watch


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when anything crossed, or when nothing was shared that may be."""
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--houses", default=",".join(SHARES), help=f"of: {', '.join(SHARES)}")
    options = parser.parse_args(argv)
    kinds = options.houses.split(",")
    whole = sum(SHARES[kind] for kind in kinds)
    failed, total = False, Counter[str]()
    for kind in kinds:
        count = round(options.pairs * SHARES[kind] / whole)
        started = time.perf_counter()
        watch = asyncio.run(run(kind, count, options.seed))
        print(
            f"\n{kind}: {count} pairs in {time.perf_counter() - started:.0f} s, {watch.num_leaks} crossed", flush=True
        )
        for difference in ("first", *DIFFERENCES):
            if told := ", ".join(f"{tier} {n}" for tier, n in sorted(watch.served(difference).items())):
                print(f"  {_NAMES.get(difference, difference):17} {told}")
        for leak in watch.leaks:
            print(f"  CROSSED {leak}")
        for (what, status), n in watch.refused.most_common(5):
            print(f"  refused {n} times with {status}: {what}")
        found = watch.served("tenant" if kind == "commons" else "same").items()
        allowed = ("exact shared", "semantic shared") if kind == "commons" else ("exact", "semantic", "resumed")
        shared = sum(n for tier, n in found if tier.startswith(allowed))
        failed = failed or watch.num_leaks > 0 or (count >= 100 and shared == 0)
        total.update(pairs=count, crossed=watch.num_leaks, shared=shared)
    print(f"\n{total['pairs']} pairs, {total['crossed']} crossed; {total['shared']} answers were shared that may be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
