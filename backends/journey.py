"""What goes with a request to every backend it is put to, and who hears which backends those were.

Nobody has to hand it on: it is in the context of the task that answers the request, and in those that task starts. A
request that nobody follows has none, and costs one look.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

from backends.errors import BackendError


@dataclass(slots=True)
class Attempt:
    """One backend that was asked. Times are of the wall's clock in nanoseconds, as spans have them."""

    backend: str
    model: str
    started_ns: int
    ended_ns: int = 0  # 0: it is not over
    error: str = ""


@dataclass(slots=True)
class Journey:
    """One request that is followed."""

    headers: Mapping[str, str] = field(default_factory=dict)  # sent to backends that are servers
    attempts: list[Attempt] = field(default_factory=list)


UNFOLLOWED = nullcontext()
NO_HEADERS: Mapping[str, str] = {}
JOURNEY: ContextVar[Journey | None] = ContextVar("journey", default=None)


def attempt(backend: str, model: str) -> AbstractContextManager[None]:
    """Note that a backend is asked, for as long as it is."""
    journey = JOURNEY.get()
    return UNFOLLOWED if journey is None else _followed(journey, backend, model)


@contextmanager
def _followed(journey: Journey, backend: str, model: str) -> Iterator[None]:
    one = Attempt(backend, model, time.time_ns())
    journey.attempts.append(one)
    try:
        yield
    except BackendError as error:
        one.error = error.code or type(error).__name__
        raise
    finally:
        one.ended_ns = time.time_ns()


def headers_on_the_way() -> Mapping[str, str]:
    """What a server is sent along with the request that is being answered."""
    journey = JOURNEY.get()
    return NO_HEADERS if journey is None else journey.headers
