"""`python -m bench.isolation --pairs 100000`: pairs in every house, twice: the second time after a restart."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.inprocess import ask
from bench.isolation.askers import NUM_BEARERS, Asker, Tenant, tenants
from bench.isolation.pairs import Pairs
from bench.isolation.prefixes import PrefixPairs
from bench.isolation.town import give_keys, house
from bench.isolation.watch import Watch
from bench.redis_server import redis_server

SHARES = {"exact": 0.855, "file": 0.1, "redis": 0.04, "kv": 0.005}
DIFFERENCES = ("same", "tenant", "namespace", "salt", "model", "swapped")
STARTS = 2
_NAMES = {"first": "asked first", "same": "the same scope", "swapped": "swapped walls"}


async def run(kind: str, count: int, seed: int) -> Watch:
    """`count` pairs against one house, which is closed and opened again on the way."""
    watch, keys, known = Watch(), list[tuple[str, ...]](), set[tuple[str, ...]]()
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
                else:
                    await Pairs(home, keys, rng, watch).run(some)
                for app in home.apps:
                    nobody = Asker(Tenant("who scrapes metrics"))
                    answer = await ask(app, "GET", "/metrics")
                    watch.look(answer, nobody)
                    told = answer.body.decode()
                    for tenant in tenants(NUM_BEARERS, keys):
                        if any(len(text) > 8 and text in told for text in tenant.credentials):
                            watch.leaked("a credential in metrics", nobody, answer)
    return watch


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when anything crossed, or when nothing was shared that may be."""
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--houses", default=",".join(SHARES), help="of: exact, file, redis, kv")
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
            told = ", ".join(f"{tier} {n}" for tier, n in sorted(watch.served(difference).items()))
            print(f"  {_NAMES.get(difference, difference):16} {told}")
        for leak in watch.leaks:
            print(f"  CROSSED {leak}")
        for (what, status), n in watch.refused.most_common(5):
            print(f"  refused {n} times with {status}: {what}")
        shared = sum(n for tier, n in watch.served("same").items() if tier.startswith(("exact", "semantic", "resumed")))
        failed = failed or watch.num_leaks > 0 or (count >= 100 and shared == 0)
        total.update(pairs=count, crossed=watch.num_leaks, shared=shared)
    print(f"\n{total['pairs']} pairs, {total['crossed']} crossed; {total['shared']} were shared inside one scope")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
