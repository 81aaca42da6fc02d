"""Taking answers out of service: by what they are, or because users said they are bad.

Store, memory, index and the words kept with labels forget at once. What waits to be written is not written.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.answers.base import Entry, Gone, Tally, Verdict
from gateway.answers.selection import Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.ledger import Ledger

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

SAMPLE = 20  # ids shown of what would go
TOGETHER = 512  # entries that index and labels forget at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What an invalidation did, or would do."""

    is_dry_run: bool
    count: int
    sample: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"dry_run": self.is_dry_run, "count": self.count, "sample": list(self.sample)}


class Invalidation:
    """Removes answers everywhere. Belongs to one event loop."""

    def __init__(self, answers: TieredAnswers, semantic: "Semantic | None", ledger: Ledger) -> None:
        self._answers = answers
        self._semantic = semantic
        self._ledger = ledger

    async def preview(self, selection: Selection) -> Forgetting:
        """What `run` would remove. Raises `CacheError`."""
        rows = await self._answers.select(selection, Page(SAMPLE))
        count = len(rows) if len(rows) < SAMPLE else await self._answers.count(selection)
        return Forgetting(True, count, tuple(row.id for row in rows))

    async def run(self, selection: Selection) -> Forgetting:
        """Remove what is selected. Raises `CacheError` when the store fails; memory has forgotten it all the same."""
        gone = await self._answers.remove_all(selection)
        await self._forget(gone)
        log.info("invalidated %d entries", len(gone))
        return Forgetting(False, len(gone), tuple(one.id for one in gone[:SAMPLE]))

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        """Write down what a user said of an answer; it is retired when enough said it is bad: of an alias, a judge's
        guess, when one did. None: it is gone."""
        tally = await self._answers.judge(entry, verdict)
        if tally is not None and tally.bad and entry.alias_of is not None and not tally.is_retired:
            gone = await self._answers.remove_all(Selection(id=entry.id, scope=entry.scope))
            tally = replace(tally, gone=tuple(gone))
        if tally is not None and tally.is_retired:
            await self._forget(tally.gone)
            log.info("entry %s retired after %d bad verdicts", entry.id, tally.bad)
        return tally

    async def _forget(self, gone: Sequence[Gone]) -> None:
        if self._semantic is None:
            return
        for start in range(0, len(gone), TOGETHER):
            some = gone[start : start + TOGETHER]
            with self._ledger.best_effort("forget"):
                await asyncio.gather(*(self._semantic.forget(one.scope, one.compat, one.id) for one in some))
