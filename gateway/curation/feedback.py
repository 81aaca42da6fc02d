"""What users say of answers: a label for the semantic tier, a verdict on the entry, and its end after two bad ones.

An id is known to the tenant it was given to and to nobody else. One response has one verdict, and the last word counts,
so a retry changes nothing; a verdict on an entry is one on the last response that came from it. On an answer that
tenants share each has one verdict, and is told of no other's.
"""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gateway.answers.base import SHARED, CacheError, Entry, Verdict
from gateway.answers.tiered import TieredAnswers
from gateway.commons.commons import Commons
from gateway.commons.rule import is_shared
from gateway.curation.invalidate import Invalidation
from gateway.errors import StoreAway, UnknownId
from gateway.ledger import Ledger
from gateway.redaction import KEEPS_ALL, Redactor
from gateway.served import Served, ServedMemory

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

State = Literal["kept", "retired", "not_kept"]


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a verdict."""

    entry: str | None
    state: State  # not_kept: nothing is kept of that answer, or nothing any more
    good: int = 0
    bad: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"entry": self.entry, "state": self.state, "good": self.good, "bad": self.bad}


class Feedback:
    """Takes verdicts. Belongs to one event loop."""

    def __init__(
        self,
        answers: TieredAnswers,
        invalidation: Invalidation,
        served: ServedMemory,
        semantic: "Semantic | None",
        ledger: Ledger,
        commons: Commons | None = None,
        redactor: Redactor = KEEPS_ALL,
    ) -> None:
        self._redactor = redactor
        self._answers = answers
        self._invalidation = invalidation
        self._served = served
        self._semantic = semantic
        self._ledger = ledger
        self._commons = commons

    async def of_response(self, tenant: str, response_id: str, *, is_good: bool, comment: str) -> Said:
        """A verdict on what a response said. Raises `UnknownId` or `StoreAway`."""
        served = await self._served.look_up(response_id, tenant)
        if served is None:
            raise UnknownId(f"No response {response_id!r} was given to you lately.", "id")
        await self._label(response_id, served, is_good)
        said = await self._of_served(served, response_id, is_good, comment)
        return said if served.rules.hit_details else replace(said, entry=None)

    async def _of_served(self, served: Served, response_id: str, is_good: bool, comment: str) -> Said:
        if served.entry is None:
            return Said(None, "not_kept")
        entry = await self._read(served)
        if entry is None or not served.is_about(entry):
            return Said(served.entry, "not_kept")
        if is_shared(entry):
            return await self._say_of_shared(entry, served.tenant, is_good)
        if entry.origin == SHARED and self._commons is not None:
            with self._ledger.best_effort("feedback"):
                common = await self._commons.original(entry, served.rules)
                if common is not None:
                    await self._say_of_shared(common, served.tenant, is_good)
        return await self._say(entry, response_id, is_good, comment)

    async def of_entry(self, tenant: str, entry_id: str, *, is_good: bool, comment: str) -> Said:
        """A verdict on a stored answer. Raises `UnknownId` or `StoreAway`."""
        try:
            entry = await self._answers.owned(tenant, entry_id)
        except CacheError as error:
            raise StoreAway(str(error)) from error
        if entry is None:
            raise UnknownId(f"No entry {entry_id!r} is kept for you.", "entry")
        response_id = self._served.last_of(tenant, entry_id)
        served = self._served.find(response_id) if response_id is not None else None
        if served is None or response_id is None or not served.is_about(entry):
            return await self._say(entry, entry_id, is_good, comment)
        await self._label(response_id, served, is_good)
        return await self._say(entry, response_id, is_good, comment)

    async def _say(self, entry: Entry, source: str, is_good: bool, comment: str) -> Said:
        if self._redactor.holds((comment,)):
            comment = ""
        verdict = Verdict(source, is_good, comment, time.time())
        try:
            tally = await self._invalidation.judge(entry, verdict)
        except CacheError as error:
            raise StoreAway(str(error)) from error
        state: State = "not_kept" if tally is None else "retired" if tally.is_retired else "kept"
        self._ledger.looked_up("feedback", "good" if is_good else "bad", state)
        return Said(entry.id, state) if tally is None else Said(entry.id, state, tally.good, tally.bad)

    async def _say_of_shared(self, entry: Entry, tenant: str, is_good: bool) -> Said:
        """What one of the tenants says that share it; none of its words are kept with what others have."""
        if self._commons is None:
            return Said(None, "not_kept")
        try:
            await self._commons.object(entry, tenant, objects=not is_good)
        except CacheError as error:
            raise StoreAway(str(error)) from error
        said = await self._say(entry, self._commons.voice(entry, tenant), is_good, "")
        is_kept = said.state != "not_kept"
        return Said(None, "kept" if is_kept else said.state, int(is_kept and is_good), int(is_kept and not is_good))

    async def _read(self, served: Served) -> Entry | None:
        try:
            return await self._answers.by_id(served.scope, served.entry or "")
        except CacheError as error:
            raise StoreAway(str(error)) from error

    async def _label(self, response_id: str, served: Served, is_good: bool) -> None:
        """Let the lane know, unless the same was said before."""
        before = await self._served.judge(response_id, is_good)
        if self._semantic is not None and before != is_good:
            with self._ledger.best_effort("feedback"):
                await self._semantic.feedback(served, is_good, corrects=before is not None)
