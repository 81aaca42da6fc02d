"""What hits of the express road owe: the ledger, the live view, what is asked about a response later, the popularity
of entries, the access log. Noted as one small tuple each, paid for many at once, entry by entry.

Nothing is paid in one go that would be felt: an entry's debts are paid when there are enough of them, the oldest when
there are too many in all, and what is left soon, a few entries in each turn of the loop. `settle` pays everything.
Whoever fails at being paid is told of in the log, and all others are paid.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from backends.chat import Usage
from gateway.answers.base import Entry
from gateway.ledger import Each, Hits, Ledger
from gateway.outcome import Outcome
from gateway.served import Served, ServedMemory
from gateway.telemetry.exchange import Exchange, Observer

log = logging.getLogger(__name__)

OK = 200
MOST_OF_ONE = 32  # debts of one entry
MOST_IN_ALL = 512
SOON_S = 0.05
AT_ONCE = 16  # entries in a turn of the loop: a fifth of a millisecond

CountHits = Callable[[Iterable[tuple[Entry, int, float | None]]], None]  # entry, times, how long it may live at most


@dataclass(frozen=True, slots=True)
class Owing:
    """What all hits of one prepared answer owe alike."""

    entry: Entry
    max_ttl_s: float | None
    outcome: Outcome  # of one told at `at_s`
    at_s: float
    served: Served
    model: str
    route: str
    path: str
    usage: Usage
    tenant: str
    question: str | None = field(repr=False)

    def hits(self, each: Sequence[Each]) -> Hits:
        """The ledger's word for so many of them."""
        outcome, at_s = self.outcome, self.at_s
        return Hits(outcome, at_s, self.model, self.route, self.usage, each, self.tenant, self.question)


@dataclass(frozen=True, slots=True)
class Creditors:
    """Whoever is owed. `observers` want one exchange each, if there are any."""

    ledger: Ledger
    served: ServedMemory
    count_hits: CountHits
    observers: Sequence[Observer] = ()

    def pay(self, owing: Owing, each: Sequence[Each], request_ids: Sequence[str]) -> None:
        """Pay what some hits of one answer owe, the oldest first."""
        hits = owing.hits(each)
        _pay("the ledger", partial(self.ledger.record_hits, hits))
        _pay("the memory of responses", partial(self.served.note_hits, [name for name, *_ in each], owing.served))
        _pay("the store", partial(self.count_hits, ((owing.entry, len(each), owing.max_ttl_s),)))
        for one, request_id in zip(each, request_ids, strict=True) if self.observers else ():
            _pay("an observer", partial(self._observed, owing, hits, one, request_id))

    def _observed(self, owing: Owing, hits: Hits, one: Each, request_id: str) -> None:
        _, ended_s, total_s, _ = one
        ended_ns = int(ended_s * 1e9)
        exchange = Exchange(request_id, "POST", owing.path, ended_ns - int(total_s * 1e9), OK, ended_ns)
        exchange.line = hits.line(one)
        for observer in self.observers:
            observer.end(exchange)


def _pay(whom: str, pay: Callable[[], None]) -> None:
    try:
        pay()
    except Exception:  # our bug: it must cost neither the others theirs nor a connection its road
        log.exception("%s was not told of some hits of the express road", whom)


@dataclass(slots=True)
class _Tab:
    """What is owed for one answer."""

    owing: Owing
    each: list[Each] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)  # for observers alone


class Debts:
    """What is owed now. Belongs to one event loop."""

    def __init__(self, creditors: Creditors) -> None:
        self._creditors = creditors
        self._tabs: dict[int, _Tab] = {}  # by the owing's identity, the oldest first
        self._count = 0
        self._timer: asyncio.Handle | None = None

    def __len__(self) -> int:
        return self._count

    def note(self, owing: Owing, one: Each, request_id: bytes) -> None:
        """One hit more."""
        key = id(owing)  # which a tab keeps alive
        tab = self._tabs.get(key)
        if tab is None:
            tab = self._tabs[key] = _Tab(owing)
        tab.each.append(one)
        if self._creditors.observers:
            tab.request_ids.append(request_id.decode("ascii"))
        self._count += 1
        if len(tab.each) >= MOST_OF_ONE:
            self._pay(key)
        elif self._count >= MOST_IN_ALL:
            self._pay(next(iter(self._tabs)))
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON_S, self._pay_some)

    def settle(self) -> None:
        """Pay everything."""
        while self._tabs:
            self._pay(next(iter(self._tabs)))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pay_some(self) -> None:
        self._timer = None
        for key in list(self._tabs)[:AT_ONCE]:
            self._pay(key)
        if self._tabs:
            self._timer = asyncio.get_running_loop().call_soon(self._pay_some)

    def _pay(self, key: int) -> None:
        tab = self._tabs.pop(key)
        self._count -= len(tab.each)
        self._creditors.pay(tab.owing, tab.each, tab.request_ids)


@dataclass(frozen=True, slots=True)
class Settling:
    """Has everything paid before a request begins: it may ask about any of it."""

    app: ASGIApp
    settle: Callable[[], None]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        self.settle()
        return self.app(scope, receive, send)
