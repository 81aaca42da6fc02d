"""A process that writes segments until it is killed: `python -m tests.kvtier.tiers.writer_process FOLDER SEED`.

It says on standard output how many segments it has written, one line each.
"""

import itertools
import random
import sys
from pathlib import Path

from tests.kvtier.rows import slab_of
from tests.kvtier.tiers.places import disk_tier, tiered_cache, write_all


def ids_of(seed: int) -> list[int]:
    """The tokens of one conversation: all share the first forty."""
    dice = random.Random(seed)
    return [*range(40), *(dice.randint(0, 9) for _ in range(dice.randint(1, 150)))]


def main(folder: Path, seed: int) -> None:
    cache = tiered_cache(2000, disk_tier(folder))
    for at in itertools.count(seed, 1000):
        ids = ids_of(at)
        cache.publish_tail("a", ids, slab_of("a", ids), len(ids))
        write_all(cache)
        print(cache.snapshot()["disk_writes"], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
