"""What the collector of a serving process looks at, and when: in a process of its own, as its settings are."""

import subprocess
import sys

SAYS = """
import gc
import weakref
from gateway.heap import collect, settle


class Cycle:
    def __init__(self):
        self.me = self


def work(containers):
    return [[] for _ in range(containers)]


before = Cycle()
settle()
frozen = gc.get_freeze_count()
old = Cycle()
gc.collect(0)  # it has been looked at, and was in use
seen = weakref.ref(old), weakref.ref(Cycle())
del old
kept = work(200_000)
print([one() is None for one in seen], frozen > 1_000)
collect()
print([one() is None for one in seen])
"""


def test_what_is_young_is_collected_soon_and_what_is_old_when_it_is_told() -> None:
    told = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True).stdout.splitlines()

    assert told == ["[False, True] True", "[True, True]"]
