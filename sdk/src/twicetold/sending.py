"""What goes out and what comes back, as values: a call knows how to read its reply. No I/O."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from twicetold.cache import CacheInfo, NotTwicetoldError
from twicetold.decoding import Decoder
from twicetold.errors import UnreadableError, error_of

T = TypeVar("T")
JSON = Mapping[str, Any]
Headers = Mapping[str, str]
Read = Callable[[Any, Headers], T]


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes out."""

    method: str
    path: str
    body: bytes | None = None
    kind: str = "application/json"
    query: Sequence[tuple[str, str]] = ()
    headers: Headers = field(default_factory=dict)
    is_admin: bool = False
    is_repeatable: bool = True  # False: to send it twice may do it twice
    timeout_s: float | None = None  # None: the client's


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and the value its reply is."""

    sent: Sent
    read: Read[T]

    def answer(self, status: int, headers: Headers, content: bytes) -> T:
        """Raises `APIStatusError` for a refusal, `UnreadableError` for what is not what was asked for."""
        raise_for(status, headers, content)
        try:
            return self.read(json.loads(content), headers)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UnreadableError(f"the reply is not what was asked for: {error!r} in {content[:200]!r}") from error


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[T]):
    """One request whose reply is read piece by piece."""

    sent: Sent
    decoder: Callable[[], Decoder[T]]

    def cache(self, headers: Headers) -> CacheInfo:
        """Where the answer comes from. Raises `UnreadableError`."""
        try:
            return CacheInfo.from_headers(headers)
        except NotTwicetoldError as error:
            raise UnreadableError(str(error)) from error


def raise_for(status: int, headers: Headers, content: bytes) -> None:
    """Raises `APIStatusError` unless it went well."""
    if not 200 <= status < 300:
        raise error_of(status, headers, content)
