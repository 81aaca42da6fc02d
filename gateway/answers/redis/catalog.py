"""What is asked about many entries at once: shelves are gone through side by side, in order of when entries were made.

Pages are small, so that nobody waits long behind a script. Everything is read and checked here; scripts only choose
by embedder. An operator's list of all entries with some word in them reads them all.
"""

import asyncio
import heapq
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from gateway.answers.base import Embedded, Entry, Gone, Unembedded
from gateway.answers.codec import decode
from gateway.answers.memory import is_meant
from gateway.answers.redis import scripts
from gateway.answers.redis.card import PLACE_BYTES, Broken, Card, Cards
from gateway.answers.redis.places import Shelves, Told
from gateway.answers.selection import Listed, Page, Selection

PAGE_ROWS = 128  # of one shelf
REMOVE_ROWS = 128  # in one script
LOOKED_AT = 50_000  # entries, newest first, for the requests of one scope


@dataclass(frozen=True, slots=True)
class Row:
    """A card, and what was asked for besides: its body or its vector."""

    card: Card
    more: bytes | None
    shelf: int


class Catalog:
    """Goes through the shelves of one deployment."""

    def __init__(self, shelves: Shelves, cards: Cards) -> None:
        self._shelves = shelves
        self._cards = cards
        self.broken = 0
        self.closed = 0  # of those that were met: sealed under a key that is not given

    async def select(self, selection: Selection, page: Page, horizon_s: float) -> list[Listed]:
        """What is selected, newest first, a page of it."""
        found: list[Listed] = []
        async for row in self._selected(selection, page.after, horizon_s):
            found.append(row.card.listed())
            if len(found) == page.limit:
                break
        return found

    async def count(self, selection: Selection, horizon_s: float) -> int:
        return sum([1 async for _ in self._selected(selection, None, horizon_s)])

    async def requests(self, scope: bytes, limit: int, horizon_s: float) -> list[tuple[str, bytes]]:
        """Id and canonical request of the newest of a scope, as far as they are among the newest of all."""
        chosen: list[Row] = []
        looked = 0
        async for row in self._rows(horizon_s):
            looked += 1
            if row.card.scope == scope:
                chosen.append(row)
            if len(chosen) == limit or looked == LOOKED_AT:
                break
        calls = [(row.shelf, (row.card.member,)) for row in chosen]
        replies = await self._shelves.run_all(scripts.GET, calls) if calls else []
        found: list[tuple[str, bytes]] = []
        for row, reply in zip(chosen, replies, strict=True):
            if isinstance(reply, list) and len(reply) == 3:
                entry = self._with_content(Row(row.card, reply[1], row.shelf))
                found += [] if entry is None else [(entry.id, entry.canonical)]
        return found

    async def remove_all(self, selection: Selection) -> list[Gone]:
        """Forget what is selected, unless another answer has its place by now."""
        chosen = await self._chosen(selection)
        by_shelf: dict[int, list[Card]] = {}
        for row in chosen:
            by_shelf.setdefault(row.shelf, []).append(row.card)
        gone: list[Gone] = []
        for shelf, cards in by_shelf.items():
            for start in range(0, len(cards), REMOVE_ROWS):
                some = cards[start : start + REMOVE_ROWS]
                places = [part for card in some for part in (card.member, struct.pack("<d", card.created_s))]
                (told,) = await self._shelves.run(scripts.DROP, shelf, "gone", *places)
                await self._shelves.tell(told)
                gone += gone_of(told)
        return gone

    async def _chosen(self, selection: Selection) -> list[Row]:
        """Everything that is selected; one entry and its aliases are found without going through all."""
        if selection.id is not None and (rows := await self._named(selection.id, selection.scope or b"")):
            needs_content = selection.text is not None or selection.canonical is not None
            if not needs_content:
                return [row for row in rows if selection.matches(row.card.without_content())]
        return [row async for row in self._selected(selection, None, float("-inf"))]

    async def _named(self, entry_id: str, scope: bytes) -> list[Row]:
        name = entry_id.encode("utf-8", "surrogatepass")
        links = (name + b"@" + scope,) if scope else (name,)
        door = self._shelves.of_id(entry_id)
        found, shelf = await self._shelves.follow(scripts.NAMED, door, links, name, scope)
        parts = [] if found is None else found[1:]
        rows: list[Row] = []
        for member, raw in zip(parts[::2], parts[1::2], strict=True):
            try:
                rows.append(Row(self._cards.read_card(member, raw), None, shelf))
            except Broken:
                self.broken += 1
        return rows

    async def embedded(self, embedder: str, horizon_s: float) -> AsyncIterator[Embedded]:
        """Every entry with a vector of this embedder, oldest first."""
        async for row in self._rows(horizon_s, is_up=True, what="vector", wanted=embedder):
            if not row.card.has_vector or row.more is None:
                continue
            try:
                found = row.card.embedded(self._cards.read_vector(row.card, row.more))
            except Broken:
                self.broken += 1
                continue
            if found is not None:
                yield found

    async def unembedded(self, embedder: str, horizon_s: float) -> AsyncIterator[Unembedded]:
        """Every entry with a question that this embedder has not been asked for."""
        async for row in self._rows(horizon_s, is_up=True, unwanted=embedder):
            if (found := row.card.unembedded()) is not None:
                yield found

    async def rows(self) -> AsyncGenerator[Row, None]:
        """Every entry whose card can be read, oldest first."""
        async for row in self._rows(float("-inf"), is_up=True):
            yield row

    async def _selected(
        self, selection: Selection, after: tuple[float, int] | None, horizon_s: float
    ) -> AsyncIterator[Row]:
        """Newest first."""
        has_content = selection.text is not None or selection.canonical is not None
        async for row in self._rows(horizon_s, after=after, what="body" if has_content else "card"):
            if not has_content:
                if selection.matches(row.card.without_content()):
                    yield row
            elif (entry := self._with_content(row)) is not None and is_meant(selection, entry):
                yield row

    def _with_content(self, row: Row) -> Entry | None:
        try:
            canonical, completion = self._cards.read_body(row.card, row.more or b"")
            return row.card.entry(canonical, decode(completion))
        except Broken:
            self.broken += 1
            return None

    async def _rows(
        self,
        horizon_s: float,
        *,
        is_up: bool = False,
        after: tuple[float, int] | None = None,
        what: str = "card",
        wanted: str = "",
        unwanted: str = "",
    ) -> AsyncIterator[Row]:
        """Rows of all shelves in order: what ended before `horizon_s` left out."""
        walks = {
            shelf: self._walk(shelf, is_up=is_up, after=after, what=what, wanted=wanted, unwanted=unwanted)
            for shelf in self._shelves.all
        }
        heap: list[tuple[tuple[float, int], int, Row]] = []
        sign = 1 if is_up else -1

        async def push(shelf: int) -> None:
            row = await anext(walks[shelf], None)
            if row is not None:
                made, place = row.card.place
                heapq.heappush(heap, ((sign * made, sign * place), shelf, row))

        for shelf in walks:
            await push(shelf)
        while heap:
            _, shelf, row = heapq.heappop(heap)
            if row.card.is_fresh(horizon_s):
                yield row
            await push(shelf)

    async def _walk(
        self, shelf: int, *, is_up: bool, after: tuple[float, int] | None, what: str, wanted: str, unwanted: str
    ) -> AsyncIterator[Row]:
        moment: str | bytes = ("-inf" if is_up else "+inf") if after is None else repr(after[0])
        place = b"" if after is None else after[1].to_bytes(PLACE_BYTES, "big")
        direction = "1" if is_up else "-1"

        def read(moment: str | bytes, place: bytes) -> "asyncio.Future[Any]":
            asked = (direction, moment, place, PAGE_ROWS, what, wanted, unwanted)
            return asyncio.ensure_future(self._shelves.run(scripts.PAGE, shelf, *asked))

        page: asyncio.Future[Any] | None = read(moment, place)
        try:
            while page is not None:
                reached, place, rows = await page
                # who goes through all, from the oldest on, has the next page read meanwhile
                page = read(reached, place) if is_up and reached is not None else None
                for member, raw, more in rows:
                    try:
                        yield Row(self._cards.read_card(member, raw), more, shelf)
                    except Broken as broken:
                        self.broken += 1
                        self.closed += broken.is_foreign
                        if not broken.is_foreign:  # its key may come back
                            await self._shelves.run(scripts.DROP, shelf, "", member, b"")
                if page is None and reached is not None:
                    page = read(reached, place)
        finally:
            if page is not None:
                page.cancel()
                await asyncio.gather(page, return_exceptions=True)


def gone_of(told: Told) -> list[Gone]:
    """What events say is no more."""
    return [
        Gone(name.decode("utf-8", "surrogatepass"), scope, compat)
        for kind, scope, compat, _, name in told
        if kind in (b"gone", b"out")
    ]
