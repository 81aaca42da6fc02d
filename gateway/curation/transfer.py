"""Stored answers out of this gateway and into another: an export that can go on where it was cut, an import that says
of every line what became of it.

An export goes through the store from the newest entry to the oldest, originals first and then their aliases; then once
more through what was stored since it began, so that what was replaced meanwhile is in it. A line's cursor says all of
that: whoever lost the connection asks for what comes after the last whole line it has.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gateway.answers.base import CacheError, Entry, unembedded_of
from gateway.answers.selection import MAX_PAGE, Listed, Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.chores import Chores
from gateway.commons.rule import COMMONS
from gateway.curation.lines import cursor_of, end_line, header_line, place_of
from gateway.curation.portable import Movement, Taken, entry_line, read_line
from gateway.errors import InvalidRequest, StoreAway
from gateway.ledger import Ledger
from gateway.policy import Rules
from gateway.semantic.found import digest_of
from gateway.semantic.rule import LaneRule

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

TOGETHER = 64  # entries that are read at once
PUTS = 64  # and written at once
MOST_LEARNING = 2048  # imported questions that wait for the embedder; who imports more waits, too
MOST_ERRORS = 1000  # told one by one, of one chunk

Clash = Literal["newer", "replace", "keep"]  # which stays where both have an answer

# The passes of an export: aliases or not, of what was there at the start or of what came since.
ORIGINALS, ALIASES, NEW_ORIGINALS, NEW_ALIASES, DONE = range(5)


@dataclass(slots=True)
class Place:
    """How far an export is: the pass, when the export began, and the last row, if there was one in this pass."""

    number: int
    began_s: float
    after: tuple[float, int] | None = None

    @classmethod
    def of(cls, cursor: str | None) -> "Place":
        """Raises `InvalidRequest`."""
        if cursor is None:
            return cls(ORIGINALS, time.time())
        number, began_s, created_s, row = place_of(cursor, 4)
        if not 0 <= number < DONE:
            raise InvalidRequest("after must be the cursor of a line of an earlier export.", "after")
        return cls(int(number), began_s, (created_s, int(row)))

    def cursor(self, row: Listed) -> str:
        return cursor_of((self.number, self.began_s, *row.place))

    def is_over(self, row: Listed) -> bool:
        """Whether a pass that goes back in time has come to what earlier passes had."""
        return self.number >= NEW_ORIGINALS and row.created_s < self.began_s

    def wants(self, row: Listed) -> bool:
        if row.tenant == COMMONS:  # what tenants of this gateway vouch for is no answer that another can be given
            return False
        return (row.alias_of is not None) == (self.number in (ALIASES, NEW_ALIASES))


@dataclass(slots=True)
class Account:
    """What became of the lines of a chunk."""

    lines: int = 0
    imported: int = 0
    kept: int = 0  # there was an answer already, and it stays
    expired: int = 0
    failed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, line: int, param: str | None, message: str, code: str) -> None:
        self.failed += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append({"line": line, "field": param, "message": message, "code": code})

    def as_json(self, *, is_dry_run: bool) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("lines", "imported", "kept", "expired", "failed")}
        return {"object": "cache.import", "dry_run": is_dry_run, **counts, "errors": self.errors}


class Transfer:
    """Both ways. Belongs to one event loop."""

    def __init__(
        self,
        answers: TieredAnswers,
        semantic: "Semantic | None",
        rules: Rules,
        ledger: Ledger,
        secret: bytes,
        *,
        page: int = MAX_PAGE,
    ) -> None:
        """`page` rows of a list are asked for at once: some stores look at all for each page."""
        self._answers = answers
        self._semantic = semantic
        self._rules = rules
        self._ledger = ledger
        self._secret = secret
        self._page_rows = page
        self._chores = Chores()
        self._may_learn = asyncio.Semaphore(MOST_LEARNING)

    async def close(self) -> None:
        """Finish what is owed to the index; what is not done in time, the next start does."""
        await self._chores.finish()

    # -- out -----------------------------------------------------------------------------------------------------------

    async def export(self, selection: Selection, cursor: str | None = None) -> AsyncGenerator[bytes, None]:
        """The lines of an export, some at a time. Raises `InvalidRequest`, and `StoreAway` as soon as that is known."""
        place, told, skipped = Place.of(cursor), 0, 0
        yield header_line(self._secret)
        while place.number < DONE:
            rows = await self._page(selection, place)
            wanted = [row for row in rows if place.wants(row) and not place.is_over(row)]
            for start in range(0, len(wanted), TOGETHER):
                some = wanted[start : start + TOGETHER]
                lines = [line for line in await asyncio.gather(*(self._line(row, place) for row in some)) if line]
                told, skipped = told + len(lines), skipped + len(some) - len(lines)
                if lines:
                    yield b"".join(lines)
            is_at_end = len(rows) < self._page_rows or place.is_over(rows[-1])
            place = (
                Place(place.number + 1, place.began_s)
                if is_at_end
                else Place(place.number, place.began_s, rows[-1].place)
            )
        yield end_line(told, skipped)

    async def _page(self, selection: Selection, place: Place) -> list[Listed]:
        try:
            return await self._answers.select(selection, Page(self._page_rows, place.after))
        except CacheError as error:
            raise StoreAway(str(error)) from error

    async def _line(self, row: Listed, place: Place) -> bytes | None:
        """An entry; None when it has gone meanwhile, or cannot be read."""
        try:
            entry = await self._answers.owned(row.tenant, row.id)
            if entry is None:
                return None
            original = None if row.alias_of is None else await self._answers.owned(row.tenant, row.alias_of)
            if row.alias_of is not None and original is None:
                return None
            canonical = None if original is None else original.canonical
            return entry_line(self._secret, entry, row.hits, place.cursor(row), canonical)
        except CacheError as error:
            raise StoreAway(str(error)) from error

    # -- in ------------------------------------------------------------------------------------------------------------

    async def take_in(
        self, lines: Sequence[bytes], *, first: int, movement: Movement, clash: Clash, is_dry_run: bool
    ) -> dict[str, Any]:
        """Keep every line that is sound, and say what is wrong with the others; `first` is the number of the first.

        Raises `StoreAway`: then some lines may have been kept, and the same lines may be sent again.
        """
        account, now_s = Account(), time.time()
        sound: dict[tuple[bytes, bytes], tuple[int, Taken]] = {}
        for number, raw in enumerate(lines, start=first):
            if not raw.strip():
                continue
            account.lines += 1
            try:
                taken = read_line(self._secret, raw, movement, now_s)
            except InvalidRequest as error:
                account.fail(number, error.param, error.message, "invalid")
                continue
            if taken is not None and not taken.entry.is_fresh(now_s):
                account.expired += 1
            elif taken is not None:
                sound[taken.entry.scope, taken.entry.exact] = (number, taken)
        for is_alias in (False, True):  # what they are aliases of comes first
            group = [one for one in sound.values() if (one[1].entry.alias_of is not None) == is_alias]
            for start in range(0, len(group), PUTS):
                some = group[start : start + PUTS]
                works = (self._take(number, taken, clash, account, is_dry_run) for number, taken in some)
                ends = await asyncio.gather(*works, return_exceptions=True)
                for trouble in ends:
                    if trouble is not None:
                        raise trouble
        return account.as_json(is_dry_run=is_dry_run)

    async def _take(self, number: int, taken: Taken, clash: Clash, account: Account, is_dry_run: bool) -> None:
        entry, original = taken.entry, None
        try:
            here = await self._answers.peek(entry.scope, entry.exact)
            if entry.alias_of is not None:
                original = await self._answers.by_id(entry.scope, entry.alias_of)
        except CacheError as error:
            raise StoreAway(str(error)) from error
        if entry.alias_of is not None and original is None and not is_dry_run:
            message = "the entry whose answer this is is not here: import that one first."
            account.fail(number, "original", message, "no_original")
        elif original is not None and original.created_s != entry.created_s:
            account.kept += 1  # it is an alias of an answer that gave way to another
        elif here is not None and _stays(here, entry, clash):
            account.kept += 1
        elif is_dry_run:
            account.imported += 1
        else:
            await self._keep(number, taken, account, is_new=here is None)

    async def _keep(self, number: int, taken: Taken, account: Account, *, is_new: bool) -> None:
        entry = taken.entry
        try:
            await self._answers.put_far(entry)
        except CacheError as error:
            account.fail(number, None, f"it is not kept: {error}", "not_kept")
            return
        account.imported += 1
        if taken.hits and is_new:
            await self._answers.count_hit(entry.id, taken.hits)
        await self._may_learn.acquire()
        if not self._chores.add(self._learn(entry)):
            self._may_learn.release()

    async def _learn(self, entry: Entry) -> None:
        """Let other words find it."""
        row, rules = unembedded_of(entry), self._rules.of(entry.tenant, entry.model, entry.namespace)
        try:
            if self._semantic is None or row is None:
                return
            if rules.history == "loose":
                with self._ledger.best_effort("embed_loosely"):
                    await self._semantic.remember_loosely(entry)
            with self._ledger.best_effort("embed"):
                await self._semantic.remember(row, LaneRule.of(entry.tenant, rules).key, digest_of(entry))
        finally:
            self._may_learn.release()


def _stays(here: Entry, entry: Entry, clash: Clash) -> bool:
    """Whether what is here keeps its place."""
    is_same = here.created_s == entry.created_s and here.alias_of == entry.alias_of
    if clash == "newer":
        return here.created_s > entry.created_s or is_same
    return clash == "keep" or is_same


def selected(criteria: Mapping[str, str]) -> Selection:
    """What an export is of."""
    return Selection(**criteria)  # type: ignore[arg-type]
