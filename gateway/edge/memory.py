"""The memory of this process, watched: caches give back first, then nothing is generated, then nothing comes in.

    used   0 ................ SHED ........ REFUSE ........ SHUT ........ limit
           |  as it is        |  caches halve |  503 for what would have   |  503 for all of /v1
           |                  |  and again    |  to be generated           |

What is measured is the resident memory of this process against `edge.memory_mb`, else what the container uses
against what it may. The kernel kills without asking, an answer out of memory costs nothing: so hits go on longest.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import Overloaded

SHED, REFUSE, SHUT = 0.80, 0.90, 0.95  # of the limit
EVERY_S = 1.0
AFTER_SHEDDING_S = 10.0  # freed memory goes back to the system slowly; caches are not halved every second
CGROUP = Path("/sys/fs/cgroup")
STATM = Path("/proc/self/statm")
UNLIMITED = 1 << 60  # version 1 says no limit by a very large one

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes used, and how many there may be; a limit of 0 is none."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else 0.0


def of_process(limit_bytes: int, statm: Path = STATM) -> Use | None:
    """Resident memory of this process; None where the system does not say."""
    try:
        return Use(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"), limit_bytes)
    except (OSError, ValueError, IndexError):
        return None


def of_container(cgroup: Path = CGROUP) -> Use | None:
    """Of control groups, version 2 or 1, engines included; what only caches files is taken back when it must be."""
    try:
        if (cgroup / "memory.max").exists():
            limit, used = (cgroup / "memory.max").read_text().strip(), (cgroup / "memory.current").read_text()
            files, names = cgroup / "memory.stat", ("inactive_file", "active_file")
        else:
            cgroup = cgroup / "memory"
            limit, used = (cgroup / "memory.limit_in_bytes").read_text(), (cgroup / "memory.usage_in_bytes").read_text()
            files, names = cgroup / "memory.stat", ("total_inactive_file", "total_active_file")
        if limit.strip() == "max" or int(limit) >= UNLIMITED:
            return None
        stat = dict(line.split() for line in files.read_text().splitlines())
        return Use(max(0, int(used) - sum(int(stat.get(name, 0)) for name in names)), int(limit))
    except (OSError, ValueError):
        return None


@dataclass(slots=True)
class MemoryWatch:
    """`read` measures; `sheds` let go of what can be had again. Belongs to one event loop."""

    read: Callable[[], Use | None] = lambda: None
    sheds: Sequence[Callable[[], object]] = ()
    give_back: Callable[[], object] = gc.collect
    use: Use = field(default_factory=lambda: Use(0, 0))
    times_shed: int = 0
    refused: int = 0
    _shed_again_s: float = 0.0

    def check_generation(self) -> None:
        """Raises `Overloaded` when a generation might be what the memory ends with."""
        if self.use.share >= REFUSE:
            self.refused += 1
            raise Overloaded("The server is short of memory: only what is stored is answered now.", 2 * EVERY_S)

    @property
    def is_shut(self) -> bool:
        """Whether nothing more may come in."""
        return self.use.share >= SHUT

    def look(self, now_s: float) -> None:
        """Measure, and let caches go when it is time."""
        before = self.use.share
        self.use = self.read() or Use(0, 0)
        share = self.use.share
        if (share >= REFUSE) != (before >= REFUSE):
            what = "nothing is generated" if share >= REFUSE else "answers are generated again"
            log.warning("memory is at %.0f %% of its limit: %s", 100 * share, what)
        if share < SHED or now_s < self._shed_again_s:
            return
        self._shed_again_s = now_s + AFTER_SHEDDING_S
        self.times_shed += 1
        log.warning("memory is at %.0f %% of its limit: caches let go of half of what they hold", 100 * share)
        for shed in self.sheds:
            shed()
        self.give_back()

    async def run(self, every_s: float = EVERY_S) -> None:
        """Look again and again, for ever. Without a limit at the start there is nothing to do."""
        loop = asyncio.get_running_loop()
        if not (self.read() or Use(0, 0)).limit:
            return
        while True:
            self.look(loop.time())
            await asyncio.sleep(every_s)
