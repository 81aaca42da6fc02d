"""What differs between kinds of servers, as values: where to ask, what to send, how to read what comes back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from backends.base import Model
from backends.chat import ChatRequest, Completion, Delta, Fields
from backends.errors import BackendError


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server answers. Paths follow `base`, query included."""

    base: str  # scheme, host, and what every path begins with
    chat: str
    models: str = ""  # its list of models; empty where it has none of use
    health: str = ""  # says whether it can serve now; empty: whether it lists its models
    metrics: str = ""  # what an engine counts, in Prometheus' text; it may not be switched on

    @property
    def origin(self) -> str:
        """What names the server where nothing else does."""
        return f"{self.base}{self.chat}".removesuffix("/chat/completions")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an operator decides about what is sent."""

    predicts: bool = False  # near answers go along as predictions
    max_tokens: int = 0  # where an API wants a limit and the caller names none; 0: the flavour's own


class Reader(Protocol):
    """Reads one streamed answer."""

    is_done: bool  # the server said that nothing follows

    def read(self, payload: bytes) -> Iterator[Delta]:
        """The deltas of one event. Raises `BackendError`."""

    def check_whole(self) -> None:
        """Say that the stream ended. Raises `BackendGarbage` when the answer did not."""


@dataclass(frozen=True, slots=True)
class Api:
    """Another API of the same server: what is written to it and read from it; the rest is as for chat."""

    path: str
    write: Callable[[ChatRequest, Wishes], bytes]
    reader: Callable[[str, ChatRequest], Reader]
    read_whole: Callable[[bytes, str], Completion]


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of server. Every part is a plain function."""

    name: str
    endpoints: Callable[[str], Endpoints]  # of the URL an operator gives; ValueError for what is not one
    headers: Callable[[str], Mapping[str, str]]  # of the key, which may be empty
    write: Callable[[ChatRequest, Wishes], bytes]  # the body; `RequestRejected` where it cannot be said
    reader: Callable[[str, ChatRequest], Reader]  # of a stream from the upstream of this name
    read_whole: Callable[[bytes, str], Completion]
    read_error: Callable[[int, Mapping[str, str], bytes, str], BackendError]
    read_model: Callable[[Fields, str, str], Model]  # an item of the list, its revision, whose it is
    headers_of: Callable[[ChatRequest], Mapping[str, str]] = lambda _: {}  # what a request says there, not in its body
    figures: Mapping[str, str] = field(default_factory=dict)  # of its metrics: our name -> its name
    completions: Api | None = None  # where it continues a prompt as it stands
    responses: Api | None = None  # where it takes a body of the Responses API as it came
    embeddings: Api | None = None  # where it has vectors for texts
    count: Api | None = None  # where it counts a prompt's tokens
