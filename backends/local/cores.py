"""How many processor cores there really are, and how many threads of torch an engine should have on them."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def num_cores(cgroup: Path = CGROUP) -> int:
    """The cores this process may use: its affinity, cut by the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def share_of_cores(cores: int, num_engines: int = 1) -> int:
    """Threads for one of several engines. One core is left for the gateway: a thread too many costs tenfold."""
    return max(1, (cores - 1) // max(1, num_engines))


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of time the container is given, or None. Version 2 has one file, version 1 two."""
    try:
        if (file := cgroup / "cpu.max").exists():
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if quota.strip() not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
