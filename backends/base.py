"""What every backend is: something that turns a `ChatRequest` into deltas."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from backends.chat import ChatRequest, Delta


@dataclass(frozen=True, slots=True)
class Model:
    """A model a backend serves. `revision` changes whenever the same words could get another answer."""

    name: str
    revision: str
    defaults: Mapping[str, Any] = field(default_factory=dict)  # sampling the backend applies when a field is absent
    context_tokens: int | None = None
    created: int = 0
    owned_by: str = "twicetold"
    speaks_responses: bool = False  # its server may have the Responses API, so a request's `native` body can go there


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a backend can take a request now, and in a few words why not."""

    is_ready: bool
    detail: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)  # what an engine counts: running, waiting, kv_usage, ...


class Backend(Protocol):
    """A source of answers. Owned by one event loop; `open` before use, `close` once."""

    name: str

    async def open(self) -> None:
        """Start what the backend needs. Returns without waiting for slow loading; `health` says when it is ready."""

    async def models(self) -> Sequence[Model]:
        """The models served now; empty when the backend takes any name (an upstream that is not asked)."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Generate. Closing the generator aborts the work at once. Raises `BackendError`, nothing else."""

    async def health(self) -> Health: ...

    async def close(self) -> None: ...


class AnyModelBackend(Backend, Protocol):
    """A backend that takes names it does not list, as an upstream does."""

    def model(self, name: str) -> Model:
        """The model of this name, listed or not. Asks nobody."""
