"""Every HTTP exchange: its id, and what is known of it when it ends, for those who write that down.

    x-request-id   taken from the caller where it is one, else made here; every response has it
    observers      the access log, the spans; hear of the begin and the end

The ledger's line of a request comes in on the way (`note`): it is written in the task of the exchange or in one that
task started, so the context says whose it is.
"""

import re
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.ledger import Failure, Line

HEADER = b"x-request-id"
MAX_ID_CHARS = 128
_AN_ID = re.compile(rb"[!-~]{1,%d}" % MAX_ID_CHARS)  # printable, no space: it goes into logs and headers
LEFT = 499  # as nginx has it: the caller was gone before a response began
BROKEN = 500


@dataclass(slots=True)
class Lookup:
    """One tier that was asked, and when it had answered."""

    tier: str
    outcome: str
    reason: str
    ended_ns: int


@dataclass(slots=True)
class Exchange:
    """One request and its response. Times are the wall's, in nanoseconds."""

    request_id: str
    method: str
    path: str
    started_ns: int
    status: int = LEFT
    ended_ns: int = 0
    line: Line | Failure | None = None  # of the ledger; None: no request of a model, or the caller left
    lookups: list[Lookup] | None = None  # None: nobody wants to know
    trace_id: str = ""

    @property
    def total_s(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


class Observer(Protocol):
    """Hears of exchanges, on the event loop: it must be quick."""

    def begin(self, exchange: Exchange, scope: Scope) -> None: ...

    def end(self, exchange: Exchange) -> None: ...


CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def note(line: Line | Failure) -> None:
    """The ledger's line of the exchange under way."""
    if (exchange := CURRENT.get()) is not None:
        exchange.line = line


def note_lookup(tier: str, outcome: str, reason: str) -> None:
    """A tier of the exchange under way has answered."""
    if (exchange := CURRENT.get()) is not None and exchange.lookups is not None:
        exchange.lookups.append(Lookup(tier, outcome, reason, time.time_ns()))


@dataclass(frozen=True, slots=True)
class Exchanges:
    """The outermost layer of the application."""

    app: ASGIApp
    observers: Sequence[Observer] = ()
    make_id: Callable[[], str] = field(default=lambda: f"req_{token_hex(12)}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope) or self.make_id()
        exchange = Exchange(request_id, scope["method"], scope["path"], time.time_ns())
        own = (HEADER, request_id.encode("ascii"))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), own]}
            await send(message)

        if not self.observers:
            await self.app(scope, receive, send_named)
            return
        token = CURRENT.set(exchange)
        for observer in self.observers:
            observer.begin(exchange, scope)
        try:
            await self.app(scope, receive, send_named)
        except Exception:  # our bug: whoever is outside of this tells the caller
            exchange.status = BROKEN if exchange.status == LEFT else exchange.status
            raise
        finally:
            CURRENT.reset(token)
            exchange.ended_ns = time.time_ns()
            for observer in self.observers:
                observer.end(exchange)


def request_id_of(scope: Scope) -> str | None:
    """The id that the caller gave, if it is fit to be one."""
    given = next((value for name, value in scope["headers"] if name == HEADER), b"")
    return given.decode("ascii") if is_request_id(given) else None


def is_request_id(given: bytes) -> bool:
    """Whether that may be the id of a request."""
    return _AN_ID.fullmatch(given) is not None
