"""Nothing is kept longer than the operator says, whatever a ttl, a use or an import would have it.

What is too old is not served from the moment it is (`Shelves.is_usable`), and removed at the next look: a tenth of the
shortest time, a minute at most. Kept prefixes have no age one by one, as each use of a prefix adds to it; all of them
are cleared each time so much has passed, so none is older.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.answers.selection import Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.curation.invalidate import Invalidation
from gateway.embedded.service import Embeddings
from gateway.engines import Engines
from gateway.ledger import Ledger

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

LOOKS = 10  # in the shortest time
LOOK_AT_LEAST_S, LOOK_AT_MOST_S = 0.05, 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caps:
    """Seconds that things are kept at most; 0: as long as there is room."""

    answers_s: float = 0.0
    labels_s: float = 0.0
    kv_s: float = 0.0
    conversations_s: float = 0.0
    requests_s: float = 0.0

    @property
    def shortest_s(self) -> float:
        """Of those that are set; 0: none is."""
        said = (self.answers_s, self.labels_s, self.kv_s, self.conversations_s, self.requests_s)
        return min((one for one in said if one), default=0.0)


@dataclass(frozen=True, slots=True)
class Aged:
    """A place in memory that can forget what is older than a moment."""

    keeps_s: float
    forget_before: Callable[[float], int]


class Retention:
    """Belongs to one event loop."""

    def __init__(
        self,
        caps: Caps,
        answers: TieredAnswers,
        invalidation: Invalidation,
        embeddings: Embeddings,
        engines: Engines,
        ledger: Ledger,
        cleared: Path,
        *,
        semantic: "Semantic | None" = None,
        aged: Iterable[Aged] = (),
        clear_unserved: Callable[[], Awaitable[None]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`cleared` is the file that says when kept prefixes were cleared."""
        self.aged = list(aged)
        self.caps = caps
        self._answers = answers
        self._invalidation = invalidation
        self._embeddings = embeddings
        self._engines = engines
        self._ledger = ledger
        self._cleared = cleared
        self._semantic = semantic
        self._clear_unserved = clear_unserved
        self._now = now

    async def run(self) -> None:
        """Look until cancelled; nothing to do where no time is set."""
        if not self.caps.shortest_s:
            return
        every_s = max(LOOK_AT_LEAST_S, min(LOOK_AT_MOST_S, self.caps.shortest_s / LOOKS))
        while True:
            await self.look()
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Remove what is too old by now."""
        now_s, caps = self._now(), self.caps
        for one in self.aged:
            if one.keeps_s:
                one.forget_before(now_s - one.keeps_s)
        if caps.answers_s:
            with self._ledger.best_effort("retention"):
                await self._remove_answers(Selection(before_s=now_s - caps.answers_s))
        if caps.labels_s and self._semantic is not None:
            with self._ledger.best_effort("retention"):
                await self._semantic.learning.drop_before(now_s - caps.labels_s)
        if caps.kv_s:
            with self._ledger.best_effort("retention"):
                await self._clear_prefixes(now_s)

    async def _remove_answers(self, old: Selection) -> None:
        """A removal is told to other gateways and remembered: only where there is something."""
        if await self._answers.select(old, Page(1)) or await self._embeddings.count(old):
            done = await self._invalidation.run(old)
            log.info("%d answers and %d vectors were kept as long as they may be", done.count, done.vectors)

    async def _clear_prefixes(self, now_s: float) -> None:
        """Clear all when it is time; an engine that is not ready is asked again at the next look."""
        try:
            cleared_s = await asyncio.to_thread(lambda: self._cleared.stat().st_mtime)
        except OSError:
            cleared_s = 0.0  # nobody knows how old what is there is
        if cleared_s <= now_s < cleared_s + self.caps.kv_s:
            return
        if self._clear_unserved is not None:
            await self._clear_unserved()
        if set(self._engines.clear_kv()) >= set(self._engines.stats()):
            await asyncio.to_thread(self._cleared.touch, 0o600)
            log.info("kept prefixes were cleared: they are as old as they may be")
