"""What was answered lately, by response id: so that a caller can say what an answer was worth, and ask why it came.

Bounded and in memory alone: after a restart, or many responses later, an id is unknown, and an entry is still known by
its own. One tenant's responses push out its own first, so a busy one does not make another's ids unknown. Where several
gateways share a Redis, what one does not know may be known there (`gateway/shared/responses.py`).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gateway.answers.base import CacheError, Entry
from gateway.errors import StoreAway
from gateway.outcome import Outcome
from gateway.policy import Rules

if TYPE_CHECKING:
    from embeddings.control import Verdict

MAX_PER_TENANT = 2_000
MAX_IN_ALL = 20_000
MAX_TENANTS = 1_000
MAX_BYTES = 32 * 2**20
MAX_CHARS = 2_000  # of a question that is remembered
RESPONSE_BYTES = 1500  # measured, without its texts and neighbours
NEIGHBOUR_BYTES = 500


@dataclass(frozen=True, slots=True)
class Served:
    """One response: what it gave, and what was decided on the way."""

    tenant: str
    model: str
    scope: bytes
    exact: bytes  # of the entry it came from, or made
    entry: str | None  # None: nothing is kept of it
    question: str | None
    stored_question: str | None  # other words, where the answer was given to other words
    outcome: Outcome
    rules: Rules
    verdict: "Verdict | None"  # of the semantic tier, without its readings
    made_after_s: float  # the entry was made between these two moments: a later answer is another one
    made_before_s: float
    alias_of: str | None = None  # an exact hit on another name of this entry: the judge's yes made it a hit

    @property
    def size_bytes(self) -> int:
        """About what it takes."""
        texts = 2 * (len(self.question or "") + len(self.stored_question or ""))
        return RESPONSE_BYTES + texts + NEIGHBOUR_BYTES * (len(self.verdict.looked) if self.verdict is not None else 0)

    def is_about(self, entry: Entry) -> bool:
        """Whether `entry` is still the answer that was given."""
        return entry.id == self.entry and self.made_after_s <= entry.created_s <= self.made_before_s


def _light(served: Served) -> Served:
    """What of it is worth its memory."""
    if served.question is not None and len(served.question) > MAX_CHARS:
        served = replace(served, question=None)
    if served.verdict is not None and served.verdict.neighbour is not None:
        served = replace(served, verdict=replace(served.verdict, neighbour=None))  # its reading is large
    return served


class Elsewhere(Protocol):
    """The responses of other gateways. Raises `CacheError` and nothing else."""

    def tell(self, response_id: str, served: Served) -> None:
        """Let the others know a response."""

    async def find(self, response_id: str) -> Served | None: ...

    async def judge(self, response_id: str, *, is_good: bool) -> bool | None:
        """What was said before to any of them; from now on this is."""


def _nothing() -> None:
    """Nothing is owed."""


class ServedMemory:
    """The last responses of every tenant. Belongs to one event loop.

    `settle` is called before anything is read: whoever notes responses late has them noted then.
    """

    def __init__(
        self,
        per_tenant: int = MAX_PER_TENANT,
        in_all: int = MAX_IN_ALL,
        max_bytes: int = MAX_BYTES,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.settle: Callable[[], None] = _nothing
        self._elsewhere = elsewhere
        self._per_tenant = per_tenant
        self._in_all = in_all
        self._max_bytes = max_bytes
        self._bytes = 0
        self._responses: OrderedDict[str, Served] = OrderedDict()
        self._tenants: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()  # the least lately served first
        self._judged: dict[str, bool] = {}  # the last word on a response
        self._last: OrderedDict[tuple[str, str], str] = OrderedDict()  # (tenant, entry) -> its last response

    def __len__(self) -> int:
        return len(self._responses)

    def note(self, response_id: str, served: Served) -> None:
        """Remember a response from its first byte on."""
        self._note((response_id,), _light(served))

    def note_hits(self, response_ids: Sequence[str], served: Served) -> None:
        """Remember responses that are whole and gave the same, the oldest first."""
        served = _light(served)
        self._note(response_ids[-self._per_tenant :], served)
        if self._elsewhere is not None:
            for response_id in response_ids:
                self._elsewhere.tell(response_id, served)

    def _note(self, response_ids: Sequence[str], served: Served) -> None:
        responses, size = self._responses, served.size_bytes
        mine = self._tenants.setdefault(served.tenant, OrderedDict())
        self._tenants.move_to_end(served.tenant)
        for response_id in response_ids:
            if response_id in responses:
                self._forget(response_id)
                mine = self._tenants.setdefault(served.tenant, mine)  # it may have been the only one
            responses[response_id] = served
            mine[response_id] = None
            self._bytes += size
        if served.entry is not None:
            self._last[served.tenant, served.entry] = response_ids[-1]
        while len(mine) > self._per_tenant:
            self._forget(next(iter(mine)))
        while self._is_full:
            self._forget(next(iter(next(iter(self._tenants.values())))))

    @property
    def _is_full(self) -> bool:
        return len(self._responses) > self._in_all or len(self._tenants) > MAX_TENANTS or self._bytes > self._max_bytes

    def ended(self, response_id: str) -> None:
        """The response is whole: what is stored from now on is not its answer."""
        served = self._responses.get(response_id)
        if served is not None and served.made_before_s == float("inf"):
            served = self._responses[response_id] = replace(served, made_before_s=time.time())
        if served is not None and self._elsewhere is not None:
            self._elsewhere.tell(response_id, served)

    def find(self, response_id: str, tenant: str | None = None) -> Served | None:
        """A response by its id; of one tenant, if one is named."""
        self.settle()
        served = self._responses.get(response_id)
        return served if served is not None and tenant in (None, served.tenant) else None

    async def look_up(self, response_id: str, tenant: str | None = None) -> Served | None:
        """As `find`, and where it is not known here, at the other gateways. Raises `StoreAway`."""
        self.settle()
        served = self._responses.get(response_id)
        if served is None and self._elsewhere is not None:
            try:
                served = await self._elsewhere.find(response_id)
            except CacheError as error:
                raise StoreAway(str(error)) from error
        return served if served is not None and tenant in (None, served.tenant) else None

    async def judge(self, response_id: str, is_good: bool) -> bool | None:
        """What was said of this response before, None: nothing. From now on this is."""
        self.settle()
        before = self._judged.get(response_id)
        if response_id in self._responses:
            self._judged[response_id] = is_good
        if self._elsewhere is not None:
            with suppress(CacheError):
                return await self._elsewhere.judge(response_id, is_good=is_good)
        return before

    def last_of(self, tenant: str, entry_id: str) -> str | None:
        """The last response that a tenant got from an entry, or that made it."""
        self.settle()
        return self._last.get((tenant, entry_id))

    def count(self, tenant: str) -> int:
        """How many responses of a tenant are remembered."""
        self.settle()
        return len(self._tenants.get(tenant, ()))

    def forget(self, tenant: str) -> int:
        """Forget every response of a tenant; how many those were."""
        self.settle()
        gone = list(self._tenants.get(tenant, ()))
        for response_id in gone:
            self._forget(response_id)
        return len(gone)

    def _forget(self, response_id: str) -> None:
        served = self._responses.pop(response_id)
        self._judged.pop(response_id, None)
        self._bytes -= served.size_bytes
        mine = self._tenants[served.tenant]
        del mine[response_id]
        if not mine:
            del self._tenants[served.tenant]
        if served.entry is not None and self._last.get((served.tenant, served.entry)) == response_id:
            del self._last[served.tenant, served.entry]
