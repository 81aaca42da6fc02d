"""What a serving process does about its own memory: free pages go back, and what is there for good is not walked again.

Python's collector walks every container there is whenever enough new ones have come: 130,000 of modules and classes
take 50 ms and more, in the middle of somebody's request. Frozen ones are left out. Nearly all that requests hold goes
without a collector, with the last name of it; what hundreds of requests under way hold is old by its rules, though, and
was walked again and again, for 0.1 to 0.4 s. So it looks at the young alone, often and so briefly, and at all that is
old every few minutes (`collect`). The C library keeps an arena for each thread that ever asked, with holes in each, and
learns to keep what was large: it is told otherwise, and what lies free in between is given back now and then.
"""

import ctypes
import gc

ARENAS = 2
YOUNG = 1000  # containers made more than given up, after which the collector looks at the new ones
NEVER = 1 << 30  # times that it looked at younger ones, after which it looks at the old ones by itself
MIB = 1 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def spare_memory() -> None:
    """Have what is freed given back to the system; before there are threads. Nothing where the C library is another
    than glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, ARENAS)
        mallopt(_MMAP_THRESHOLD, 4 * MIB)  # lists are trained on pieces of 30 MB
        mallopt(_TRIM_THRESHOLD, MIB)


def settle() -> None:
    """Everything is loaded: what there is stays, and what loading took goes back to the system. Any thread."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, NEVER, NEVER)
    give_back()


def collect() -> None:
    """Look at the old ones, too. Holds up everybody, for 0.1 to 0.4 s under load."""
    gc.collect()


def give_back() -> None:
    """Pages that are free go back to the system. Milliseconds, without the GIL; any thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
