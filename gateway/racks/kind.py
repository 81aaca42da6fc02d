"""What is kept on racks: how a record is named and spelled, and how two copies of one are put together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

R = TypeVar("R")
SHOWN = 5  # records that cannot be read, by name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """Of records. Whichever of two copies is asked first, put together they are the same."""

    said: str  # in messages: "key"
    name_of: Callable[[R], str]
    spelled: Callable[[R], bytes]
    read: Callable[[bytes], R | None]  # None: it is none
    together: Callable[[R, R], R]
    unread: str  # what it means that some cannot be read, and what to do

    def known(self, raws: Mapping[str, bytes]) -> list[R]:
        """The records that can be read, of those by these names."""
        found = {name: self.read(raw) for name, raw in raws.items()}
        if broken := [name for name, record in found.items() if record is None]:
            more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
            log.error(
                "records of %ss cannot be read: %s%s; %s", self.said, ", ".join(broken[:SHOWN]), more, self.unread
            )
        return [record for record in found.values() if record is not None]


class Rack(Protocol[R]):
    """A place that keeps records. Raises `StoreAway`."""

    async def changed(self) -> bool:
        """Whether there may be something that `load` has not told yet."""

    async def load(self) -> Sequence[R]: ...

    async def save(self, record: R) -> None: ...
