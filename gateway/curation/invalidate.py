"""Taking answers out of service: by what they are, or because users said they are bad.

Store, memory, index and the words kept with labels forget at once. What waits to be written is not written. Where
other gateways share the store, the answer waits until they have forgotten, too, for half a second at most.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.answers.base import Entry, Gone, Tally, Verdict
from gateway.answers.selection import Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.commons.rule import in_commons, written_by
from gateway.ledger import Ledger

if TYPE_CHECKING:
    from gateway.embedded.service import Embeddings
    from gateway.semantic.tier import Semantic

SAMPLE = 20  # ids shown of what would go
TOGETHER = 512  # entries that index and labels forget at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """How many other gateways share the store, and how many of them have done as this one did."""

    others: int | None  # None: this one does not know who else there is
    heard: int

    @property
    def is_everybody(self) -> bool:
        return self.others is not None and self.heard >= self.others

    def as_json(self) -> dict[str, int | None]:
        return {"others": self.others, "heard": self.heard}


AskOthers = Callable[[], Awaitable[Heard]]


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What an invalidation did, or would do."""

    is_dry_run: bool
    count: int
    sample: tuple[str, ...]
    heard: Heard | None = None  # None: nobody else has to
    vectors: int = 0  # of /v1/embeddings, which this gateway alone keeps

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"dry_run": self.is_dry_run, "count": self.count, "sample": list(self.sample)}
        if self.vectors:
            shown["embeddings"] = self.vectors
        return shown if self.heard is None else {**shown, "replicas": self.heard.as_json()}


class Invalidation:
    """Removes answers everywhere. Belongs to one event loop."""

    def __init__(
        self,
        answers: TieredAnswers,
        semantic: "Semantic | None",
        ledger: Ledger,
        ask_others: AskOthers | None = None,
        embeddings: "Embeddings | None" = None,
    ) -> None:
        """`ask_others` waits until other gateways on the same store have heard of what was done. `embeddings` are
        vectors of texts, which go by the same tags, models and tenants."""
        self._embeddings = embeddings
        self._answers = answers
        self._semantic = semantic
        self._ledger = ledger
        self._ask_others = ask_others

    async def preview(self, selection: Selection) -> Forgetting:
        """What `run` would remove. Raises `CacheError`."""
        rows = await self._answers.select(selection, Page(SAMPLE))
        count = len(rows) if len(rows) < SAMPLE else await self._answers.count(selection)
        for one in await self._in_commons(selection):
            count += await self._answers.count(one)
        vectors = 0 if self._embeddings is None else await self._embeddings.count(selection)
        return Forgetting(True, count, tuple(row.id for row in rows), vectors=vectors)

    async def run(self, selection: Selection) -> Forgetting:
        """Remove what is selected. Raises `CacheError` when the store fails; memory has forgotten it all the same."""
        also = await self._in_commons(selection)
        gone = await self._answers.remove_all(selection)
        for one in also:
            gone += await self._answers.remove_all(one)
        await self._forget(gone)
        vectors = 0 if self._embeddings is None else await self._embeddings.remove(selection)
        heard = await self._heard()
        log.info("invalidated %d entries", len(gone))
        return Forgetting(False, len(gone), tuple(one.id for one in gone[:SAMPLE]), heard, vectors)

    async def judge(self, entry: Entry, verdict: Verdict) -> Tally | None:
        """Write down what a user said of an answer; it is retired when enough said it is bad: of an alias, a judge's
        guess, when one did. None: it is gone."""
        tally = await self._answers.judge(entry, verdict)
        if tally is not None and tally.bad and entry.alias_of is not None and not tally.is_retired:
            gone = await self._answers.remove_all(Selection(id=entry.id, scope=entry.scope))
            tally = replace(tally, gone=tuple(gone))
        if tally is not None and tally.is_retired:
            gone = list(tally.gone)
            for one in written_by(entry.tenant, entry.canonical):
                gone += await self._answers.remove_all(one)
            await self._forget(gone)
            await self._heard()
            log.info("entry %s retired after %d bad verdicts", entry.id, tally.bad)
        return tally

    async def _in_commons(self, selection: Selection) -> list[Selection]:
        """What goes with it of the answers that tenants share: those that were the selected tenant's, or entry's."""
        if selection.id is None:
            return in_commons(selection)
        rows = await self._answers.select(selection, Page(SAMPLE))
        found = [await self._answers.owned(row.tenant, row.id) for row in rows]
        return [goes for one in found if one is not None for goes in written_by(one.tenant, one.canonical)]

    async def _heard(self) -> Heard | None:
        """Wait for the others, if there are any."""
        heard = None
        if self._ask_others is not None:
            with self._ledger.best_effort("heard"):
                heard = await self._ask_others()
        if heard is not None and not heard.is_everybody:
            others = "an unknown number" if heard.others is None else heard.others
            log.warning("%d of %s other gateways have said that they forgot", heard.heard, others)
        return heard

    async def _forget(self, gone: Sequence[Gone]) -> None:
        if self._semantic is None:
            return
        for start in range(0, len(gone), TOGETHER):
            some = gone[start : start + TOGETHER]
            with self._ledger.best_effort("forget"):
                await asyncio.gather(*(self._semantic.forget(one.scope, one.compat, one.id) for one in some))
