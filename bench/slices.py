"""A load generator that does not wait for its own core: short slices of the scheduler.

Where something computes on the core beside a client, the client's own waking waits for the end of the other's slice,
up to 4 ms with ticks of 250 a second, and would be counted as the server's. A thread that asks for slices of 0.1 ms
is let in at once, if it uses little (EEVDF, Linux 6.12: `PREEMPT_SHORT`, and a slice by `sched_setattr`; the kernel's
Documentation/scheduler/sched-eevdf.rst). It needs no privilege.
"""

import ctypes
import platform
import struct
import sys

SLICE_NS = 100_000  # the shortest there is
_CALLS = {"x86_64": 314, "aarch64": 274}  # sched_setattr, which neither Python 3.11 nor older C libraries have
_LAYOUT = "=IIQiIQQQ"  # size, policy, flags, nice, priority, runtime, deadline, period


def short_slices() -> bool:
    """Ask for them, for this thread and those that it starts; False where the kernel does not know them."""
    call = _CALLS.get(platform.machine())
    if sys.platform != "linux" or call is None:
        return False
    wish = struct.pack(_LAYOUT, struct.calcsize(_LAYOUT), 0, 0, 0, 0, SLICE_NS, 0, 0)
    refused: int = ctypes.CDLL(None, use_errno=True).syscall(call, 0, wish, 0)
    return refused == 0
