"""The local engines: by the name of the model each serves; loaded and unloaded while the gateway runs.

    absent -> fetching -> loading -> ready -> unloading -> absent
                 |                     (crashes and hangs are the engine's own affair: it is loading again)
                 v
               failed -> absent, or fetching again under the same name

Everything that happens to one name happens one after the other. A model that is being unloaded resolves no more; what
it is answering may go on for a while, then its process is ended and its memory is free.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from threading import Thread
from typing import Any, Protocol, TypeVar, cast

from backends.base import Backend
from backends.errors import BackendError, BackendNotReady, BackendUnavailable
from backends.routing.router import Router
from gateway.errors import ModelConflict, ModelNotFound
from gateway.settings import EngineSettings, ModelSettings
from gateway.telemetry.samples import COLD_TIERS

DRAIN_S = 30.0
# What is measured and not counted: of several engines the worst is told.
WORST: Mapping[str, Callable[[float, float], float]] = {
    f"{tier}_{name}": worst for tier in COLD_TIERS for name, worst in (("latency_us", max), ("bytes_per_s", min))
}

Made = TypeVar("Made")

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """A model cannot be served: packages not installed, a checkpoint not found."""


class LocalEngine(Backend, Protocol):
    """A backend with a process of its own, and kept prefixes in it."""

    @property
    def pid(self) -> int | None: ...

    def stats(self) -> dict[str, Any]: ...

    def clear_kv(self) -> None: ...

    async def erase_kv(self, owner: str) -> Mapping[str, Any]: ...

    async def shared_prefixes(self, most_nodes: int) -> Mapping[str, Any]: ...

    async def warm(
        self, messages: Sequence[Mapping[str, Any]], tools: Any, salt: str, owner: str, *, pin: bool = True
    ) -> Mapping[str, Any]: ...

    async def drain(self, within_s: float) -> bool: ...


Make = Callable[[ModelSettings, int], LocalEngine]  # of how many engines; finds the checkpoint, so it may block


@dataclass(slots=True, eq=False)
class _Served:
    """One name."""

    model: ModelSettings
    engine: LocalEngine | None = None  # None: not there yet, or it failed
    failure: str = ""
    is_leaving: bool = False
    work: "asyncio.Task[None] | None" = field(default=None, repr=False)  # loads or unloads it

    async def report(self) -> dict[str, Any]:
        """What the admin API tells."""
        state, detail = await self.state()
        engine = self.engine
        stats = engine.stats() if engine is not None else {}
        counters = {name: stats.get(name, 0) for name in ("restarts", "hangs", "retries")}
        settings = {"source": self.model.source, "settings": _shown(self.model.engine)}
        pid = engine.pid if engine is not None else None
        return {"name": self.model.name, "state": state, "detail": detail, "pid": pid, **counters, **settings}

    async def state(self) -> tuple[str, str]:
        """A word, and why it is not ready."""
        if self.is_leaving:
            return "unloading", ""
        if self.failure:
            return "failed", self.failure
        if self.engine is None:
            return "fetching", ""
        health = await self.engine.health()
        return ("ready", "") if health.is_ready else ("loading", health.detail)


class Engines:
    """Owns the local engines; the router owns what it is given at the start, and resolves to all of them."""

    def __init__(self, router: Router, make: Make, served: Iterable[tuple[ModelSettings, LocalEngine]] = ()) -> None:
        """`served` are known to the router already."""
        self._router = router
        self._make = make
        self._served = {model.name: _Served(model, engine) for model, engine in served}

    async def close(self) -> None:
        """Stop what is under way; what the router does not know any more is closed here."""
        works = [served.work for served in self._served.values() if served.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        for served in self._served.values():
            if served.is_leaving and served.engine is not None:
                await served.engine.close()

    async def load(self, model: ModelSettings) -> None:
        """Begin to load a model. Raises `ModelConflict` when its name is taken."""
        taken = self._served.get(model.name)
        if taken is not None and taken.is_leaving:
            raise ModelConflict(f"The model {model.name!r} is being unloaded; load it when that is done.", "name")
        if taken is not None and not taken.failure:
            raise ModelConflict(f"A model named {model.name!r} is there already.", "name")
        served = self._served[model.name] = _Served(model)
        served.work = asyncio.create_task(self._load(served))

    async def unload(self, name: str, within_s: float = DRAIN_S) -> None:
        """Begin to unload a model; that it is being unloaded already is no error. Raises `ModelNotFound`."""
        served = self._found(name)
        if served.is_leaving:
            return
        served.is_leaving = True
        if served.engine is not None:
            self._router.remove(served.engine)
        loading = served.work
        if loading is not None:
            loading.cancel()  # now: once it has gone on, the router would know the engine
        served.work = asyncio.create_task(self._unload(served, loading, within_s))

    async def reports(self) -> Sequence[dict[str, Any]]:
        """Every model and how it is."""
        return [await served.report() for served in tuple(self._served.values())]

    async def report(self, name: str) -> dict[str, Any]:
        """One model. Raises `ModelNotFound`."""
        return await self._found(name).report()

    async def parts(self) -> dict[str, str]:
        """Models that are on their way and no backend yet, for /readyz."""
        waiting = [served for served in self._served.values() if served.engine is None or served.is_leaving]
        states = [(served.model.name, await served.state()) for served in waiting]
        return {f"local:{name}": f"{state}: {detail}" if detail else state for name, (state, detail) in states}

    def engine(self, name: str, field: str = "name") -> LocalEngine:
        """The engine of the model that `field` names. Raises `ModelNotFound`, and `BackendNotReady` when it is coming
        or going.
        """
        served = self._found(name, field)
        if served.engine is None or served.is_leaving:
            raise BackendNotReady(f"The model {name!r} is not there yet, or not any more.")
        return served.engine

    def stats(self) -> dict[str, dict[str, Any]]:
        """What the engines say of themselves, by the names of their models; never waits."""
        engines = {name: served.engine for name, served in self._served.items()}
        return {name: dict(engine.stats()) for name, engine in engines.items() if engine is not None}

    def kept(self) -> dict[str, dict[str, Any]]:
        """What each model keeps of prefixes, tier by tier, and by which settings."""
        models = {name: served.model for name, served in self._served.items()}
        return {
            name: {
                "settings": {key: value for key, value in _shown(models[name].engine).items() if key.startswith("kv_")},
                **by_tier(stats.get("kv", {})),
            }
            for name, stats in self.stats().items()
        }

    async def shared_prefixes(self, most_nodes: int) -> dict[str, Mapping[str, Any]]:
        """Which prefixes each model's callers share most; a model that is not there now is left out."""
        told: dict[str, Mapping[str, Any]] = {}
        for name, served in tuple(self._served.items()):
            if served.engine is not None and not served.is_leaving:
                with suppress(BackendNotReady, BackendUnavailable):
                    told[name] = await served.engine.shared_prefixes(most_nodes)
        return told

    def clear_kv(self, name: str | None = None) -> list[str]:
        """Forget the kept prefixes of one model, or of all that have loaded; returns whose. Raises as `engine` does."""
        if name is not None:
            self.engine(name, "model").clear_kv()
            return [name]
        cleared = []
        for each, served in self._served.items():
            if served.engine is not None and not served.is_leaving:
                with suppress(BackendNotReady):  # it is loading, and is not named
                    served.engine.clear_kv()
                    cleared.append(each)
        return cleared

    async def erase_kv(self, owner: str) -> dict[str, Mapping[str, Any]]:
        """Forget the kept prefixes of one tenant, in every model; what each had, or why it did not do it now."""
        told: dict[str, Mapping[str, Any]] = {}
        for name, served in tuple(self._served.items()):
            if served.engine is not None:
                try:
                    told[name] = await served.engine.erase_kv(owner)
                except (BackendNotReady, BackendUnavailable) as error:
                    told[name] = {"blocks": 0, "segments": {}, "pending": ["engine"], "error": str(error)}
        return told

    def _found(self, name: str, field: str = "name") -> _Served:
        if name not in self._served:
            raise ModelNotFound(f"There is no local model {name!r}.", field)
        return self._served[name]

    async def _load(self, served: _Served) -> None:
        try:
            engine = await _apart(partial(self._make, served.model, len(self._served)))
            await engine.open()
        except (Unavailable, BackendError) as error:
            served.failure = str(error)
            log.warning("the model %s cannot be loaded: %s", served.model.name, error)
            return
        except Exception as error:  # the root of this task: a folder can hold anything
            served.failure = f"{type(error).__name__}: {error}"
            log.exception("the model %s cannot be loaded", served.model.name)
            return
        served.engine = engine
        self._router.add(engine)
        log.info("the model %s is being loaded", served.model.name)

    async def _unload(self, served: _Served, loading: "asyncio.Task[None] | None", within_s: float) -> None:
        if loading is not None:
            await asyncio.wait([loading])
        if served.engine is not None:
            if not await served.engine.drain(within_s):
                log.warning("the model %s is unloaded in the middle of answers", served.model.name)
            await served.engine.close()
        del self._served[served.model.name]
        log.info("the model %s is unloaded", served.model.name)


async def _apart(work: Callable[[], Made]) -> Made:
    """Do `work` in a thread that nobody waits for at the end: a download must not hold up a shutdown."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Made] = loop.create_future()

    def settle(made: Made | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast("Made", made))

    def run() -> None:
        made, error = None, None
        try:
            made = work()
        except Exception as caught:  # the root of this thread: told to who waits
            error = caught
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, made, error)

    Thread(target=run, name="fetch-model", daemon=True).start()
    return await done


def _shown(settings: EngineSettings) -> dict[str, Any]:
    """All but what is secret, as an address with a password."""
    return {item.name: getattr(settings, item.name) for item in fields(settings) if item.repr}


def by_tier(kv: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's flat figures of its kept prefixes, sorted by what they are of."""
    tiers: dict[str, dict[str, Any]] = {"ram": {}}
    counters: dict[str, Any] = {}
    for name, value in kv.items():
        tier, _, rest = name.partition("_")
        if tier in COLD_TIERS:
            tiers.setdefault(tier, {})[rest] = value
        elif tier in ("blocks", "ram"):
            tiers["ram"][name if tier == "blocks" else rest] = value
        else:
            counters[name] = value
    return {"tiers": tiers, "counters": counters}


def added(stats: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of several engines as one: numbers are added, and of what is measured the worst is taken."""
    total: dict[str, Any] = {}
    for one in stats:
        for name, value in one.items():
            total[name] = value if name not in total else _both(name, total[name], value)
    return total


def _both(name: str, left: Any, right: Any) -> Any:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return added([left, right])
    if isinstance(left, bool):
        return left and right
    if name in WORST:
        return WORST[name](left, right)
    is_count = isinstance(left, int | float) and isinstance(right, int | float)
    return left + right if is_count else left
