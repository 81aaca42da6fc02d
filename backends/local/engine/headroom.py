"""How much memory is really free: on the machine, in the container, and under the process's own limit."""

import resource
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
CGROUP = Path("/sys/fs/cgroup")
KIB = 1024
UNLIMITED = 1 << 60  # version 1 says no limit by a very large one


def free_bytes(meminfo: Path = MEMINFO, status: Path = STATUS, cgroup: Path = CGROUP) -> int | None:
    """The least of what the three leave; None when none of them says."""
    known = [free for free in (_of_machine(meminfo), _of_container(cgroup), _of_process(status)) if free is not None]
    return min(known, default=None)


def _of_machine(meminfo: Path) -> int | None:
    return _kib(meminfo, "MemAvailable:")


def _of_container(cgroup: Path) -> int | None:
    """Control groups of version 2, or 1; what only caches files is taken back when it must."""
    try:
        if (cgroup / "memory.max").exists():
            limit, used, cached = cgroup / "memory.max", cgroup / "memory.current", "inactive_file"
        else:
            cgroup = cgroup / "memory"
            limit, used, cached = (
                cgroup / "memory.limit_in_bytes",
                cgroup / "memory.usage_in_bytes",
                "total_inactive_file",
            )
        most = limit.read_text().strip()
        if most == "max" or int(most) >= UNLIMITED:
            return None
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return max(0, int(most) - int(used.read_text()) + int(stat.get(cached, 0)))
    except (OSError, ValueError):
        return None


def _of_process(status: Path) -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    used = _kib(status, "VmData:")
    return None if soft == resource.RLIM_INFINITY or used is None else max(0, soft - used)


def _kib(path: Path, name: str) -> int | None:
    try:
        with path.open() as lines:
            return next((int(line.split()[1]) * KIB for line in lines if line.startswith(name)), None)
    except (OSError, ValueError):
        return None
