"""All racks of one kind of records: what any of them knows is known here, and owed to the others until they know it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic

from gateway.errors import StoreAway
from gateway.racks.kind import Kind, R, Rack

log = logging.getLogger(__name__)


class Racks(Generic[R]):
    """The first rack is our own: what it cannot keep did not happen. Belongs to one event loop."""

    def __init__(self, kind: Kind[R], racks: Sequence[Rack[R]], learned: Callable[[R], None]) -> None:
        """`learned` hears of every record that is new here, or another than before."""
        self.records: dict[str, R] = {}  # by name
        self._kind = kind
        self._racks = racks
        self._learned = learned
        self._locks = [asyncio.Lock() for _ in racks]  # of two words about a record the later written one has both
        self._owed: list[set[str]] = [set() for _ in racks]  # names of what each rack has not heard yet

    async def refresh(self) -> None:
        """Learn what other processes did, and give each rack what it lacks. Raises `StoreAway`."""
        away: StoreAway | None = None
        there: dict[int, dict[str, R]] = {}
        reached = []
        for number, rack in enumerate(self._racks):
            try:
                if await rack.changed():
                    there[number] = {self._kind.name_of(record): record for record in await rack.load()}
                reached.append(number)
            except StoreAway as error:
                away = away or error
                continue
            for record in there.get(number, {}).values():
                self._learn(record)
        for number in reached:
            if (found := there.get(number)) is not None:
                self._owed[number] = {name for name, record in self.records.items() if found.get(name) != record}
            try:
                for name in list(self._owed[number]):
                    await self._tell(number, name)
            except StoreAway as error:
                away = away or error
        if away is not None:
            raise away

    async def keep(self, record: R) -> None:
        """It holds here as soon as our own rack has it; the others hear of it now, or when they are back. What was
        learned of it meanwhile stays. Raises `StoreAway`."""
        name = self._kind.name_of(record)
        if not self._racks:
            self._learn(record)
            return
        async with self._locks[0]:
            record = self._with_known(record)
            await self._racks[0].save(record)
            self._learn(record)
            if self.records[name] == record:
                self._owed[0].discard(name)
        for number in range(1, len(self._racks)):
            try:
                await self._tell(number, name)
            except StoreAway as error:
                log.warning("the other gateways do not know yet of %s %s: %s", self._kind.said, name, error)

    async def _tell(self, number: int, name: str) -> None:
        """Give a rack what is known. Raises `StoreAway`: then it is owed still."""
        async with self._locks[number]:
            record = self.records[name]
            await self._racks[number].save(record)
            if self.records[name] == record:
                self._owed[number].discard(name)

    def _with_known(self, record: R) -> R:
        mine = self.records.get(self._kind.name_of(record))
        return record if mine is None else self._kind.together(mine, record)

    def _learn(self, record: R) -> None:
        """What is known and this, put together; what is new is owed to every rack."""
        record, name = self._with_known(record), self._kind.name_of(record)
        if record == self.records.get(name):
            return
        self.records[name] = record
        for owed in self._owed:
            owed.add(name)
        self._learned(record)
