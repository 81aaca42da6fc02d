"""Which backend answers for a model name, and one second try before anything was said."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol

from backends.base import Backend, Health, Model
from backends.chat import ChatRequest, Delta
from backends.errors import BackendUnavailable, RequestRejected


class AnyModelBackend(Backend, Protocol):
    """A backend that takes names it does not list, as an upstream does."""

    def model(self, name: str) -> Model:
        """The model of this name, listed or not. Asks nobody."""


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers, as which model."""

    backend: Backend
    model: Model


class UnknownModel(RequestRejected):
    """No backend serves this name."""

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {model!r} does not exist.", param="model", code="model_not_found", status=404)


def short_pause_s() -> float:
    """Long enough for a restarting server to accept again, different for each of many waiting callers."""
    return SystemRandom().uniform(0.05, 0.2)


class Router:
    """Owns the backends. `backends` are found by the names they serve; any other name goes to `default`."""

    def __init__(
        self,
        backends: Sequence[Backend],
        default: AnyModelBackend | None = None,
        *,
        pause_s: Callable[[], float] = short_pause_s,
    ) -> None:
        self._named = [backend for backend in backends if backend is not default]
        self._default = default
        self._pause_s = pause_s

    @property
    def _all(self) -> tuple[Backend, ...]:
        return (*self._named, *(() if self._default is None else (self._default,)))

    async def open(self) -> None:
        """Open every backend, or none."""
        async with AsyncExitStack() as opened:
            for backend in self._all:
                await backend.open()
                opened.push_async_callback(backend.close)
            opened.pop_all()

    async def close(self) -> None:
        """Close every backend, even when closing one fails."""
        async with AsyncExitStack() as closing:
            for backend in self._all:
                closing.push_async_callback(backend.close)

    def add(self, backend: Backend) -> None:
        """Serve the names of a backend that is open, from now on."""
        self._named.append(backend)

    def remove(self, backend: Backend) -> None:
        """Resolve to this backend no more; whoever removes it drains and closes it."""
        self._named.remove(backend)

    async def resolve(self, model: str) -> Route:
        """The route of a model name. Raises `UnknownModel`."""
        for backend in tuple(self._named):  # they may change while one is asked
            for served in await backend.models():
                if served.name == model:
                    return Route(backend, served)
        if self._default is None:
            raise UnknownModel(model)
        return Route(self._default, self._default.model(model))

    async def models(self) -> Sequence[Model]:
        """Every model served, by the first backend that has the name."""
        lists = await asyncio.gather(*(backend.models() for backend in self._all))
        by_name: dict[str, Model] = {}
        for served in lists:
            for model in served:
                by_name.setdefault(model.name, model)
        return list(by_name.values())

    async def health(self) -> Mapping[str, Health]:
        """The health of every backend, by name."""
        backends = self._all
        healths = await asyncio.gather(*(backend.health() for backend in backends))
        return {backend.name: health for backend, health in zip(backends, healths, strict=True)}

    async def stream(self, route: Route, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Generate on the route. Asks once more when nobody answered; never after the first delta."""
        may_retry = True
        while True:
            try:
                async with aclosing(route.backend.stream(request)) as deltas:
                    async for delta in deltas:
                        may_retry = False
                        yield delta
                return
            except BackendUnavailable as error:
                if not (may_retry and error.retryable):
                    raise
            may_retry = False
            await asyncio.sleep(self._pause_s())
