"""Local models come and go under one name after the other; their figures are added."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from threading import Event
from typing import Any

import pytest

from backends.errors import BackendNotReady
from backends.fake import ScriptedBackend
from backends.routing.router import Router, UnknownModel
from gateway.engines import Engines, LocalEngine, Unavailable, added, by_tier
from gateway.errors import ModelConflict, ModelNotFound
from gateway.settings import EngineSettings, ModelSettings


class ScriptedEngine(ScriptedBackend):
    """An engine without a process."""

    pid = None

    def __init__(self, model: str) -> None:
        super().__init__(name=f"local:{model}", model_names=[model])
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.cleared = 0

    def stats(self) -> dict[str, Any]:
        return {"running": self.active}

    def clear_kv(self) -> None:
        self.cleared += 1

    async def erase_kv(self, owner: str) -> Mapping[str, Any]:
        return {"blocks": len(owner), "segments": {}, "pending": []}

    async def shared_prefixes(self, most_nodes: int) -> Mapping[str, Any]:
        return {"nodes": [{"hits": 2}][:most_nodes]}

    async def warm(
        self, messages: Sequence[Mapping[str, Any]], tools: Any, salt: str, owner: str, *, pin: bool = True
    ) -> Mapping[str, Any]:
        return {"tokens": len(messages)}

    async def drain(self, within_s: float) -> bool:
        await self.may_end.wait()
        return True


class Workshop:
    """Makes engines; `may_make` holds it up, as a download does. It remembers all it has made."""

    def __init__(self) -> None:
        self.may_make = Event()
        self.may_make.set()
        self.made: list[ScriptedEngine] = []

    def __call__(self, model: ModelSettings, num_engines: int) -> LocalEngine:
        self.may_make.wait()
        if model.source == "broken":
            raise Unavailable("broken is no checkpoint")
        self.made.append(ScriptedEngine(model.name))
        return self.made[-1]


@asynccontextmanager
async def opened(workshop: Workshop) -> AsyncIterator[tuple[Engines, Router]]:
    router = Router([])
    engines = Engines(router, workshop)
    await router.open()
    try:
        yield engines, router
    finally:
        workshop.may_make.set()
        await engines.close()
        await router.close()


def model(name: str, source: str = "somewhere") -> ModelSettings:
    return ModelSettings(source, name, EngineSettings())


async def until(engines: Engines, name: str, state: str) -> None:
    while (await engines.report(name))["state"] != state:  # noqa: ASYNC110 - it may change in a thread
        await asyncio.sleep(0)


async def until_gone(engines: Engines, name: str) -> None:
    while any(report["name"] == name for report in await engines.reports()):  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_loaded_model_is_resolved_and_an_unloaded_one_at_once_no_more() -> None:
    async with opened(workshop := Workshop()) as (engines, router):
        await engines.load(model("a"))
        await until(engines, "a", "ready")
        route = await router.resolve("a")
        workshop.made[0].may_end.clear()
        await engines.unload("a")
        with pytest.raises(UnknownModel):
            await router.resolve("a")
        was_open = workshop.made[0].is_open
        workshop.made[0].may_end.set()
        await until_gone(engines, "a")

    assert route.backend is workshop.made[0]
    assert was_open
    assert not workshop.made[0].is_open


async def test_a_model_that_is_still_fetched_can_be_unloaded_and_never_appears() -> None:
    async with opened(workshop := Workshop()) as (engines, router):
        workshop.may_make.clear()
        await engines.load(model("a"))
        await until(engines, "a", "fetching")
        assert await engines.parts() == {"local:a": "fetching"}
        await engines.unload("a")
        workshop.may_make.set()
        await until_gone(engines, "a")
        with pytest.raises(UnknownModel):
            await router.resolve("a")

    assert not any(engine.is_open for engine in workshop.made)


async def test_a_download_does_not_hold_up_the_end() -> None:
    workshop, router = Workshop(), Router([])
    engines = Engines(router, workshop)
    workshop.may_make.clear()
    await engines.load(model("a"))
    await until(engines, "a", "fetching")
    await engines.close()  # and the executor of the loop has nothing to wait for

    assert not workshop.made
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "fetch-model")
    workshop.may_make.set()


async def test_a_name_belongs_to_one_model_until_it_is_gone_or_has_failed() -> None:
    async with opened(workshop := Workshop()) as (engines, _):
        await engines.load(model("a", "broken"))
        await until(engines, "a", "failed")
        assert (await engines.report("a"))["detail"] == "broken is no checkpoint"
        await engines.load(model("a"))
        with pytest.raises(ModelConflict, match="there already"):
            await engines.load(model("a"))
        await until(engines, "a", "ready")
        workshop.made[0].may_end.clear()
        await engines.unload("a")
        await engines.unload("a")  # asked twice, done once
        with pytest.raises(ModelConflict, match="being unloaded"):
            await engines.load(model("a"))
        with pytest.raises(BackendNotReady):
            engines.engine("a")
        workshop.made[0].may_end.set()


async def test_what_is_being_unloaded_when_the_gateway_closes_is_closed_too() -> None:
    async with opened(workshop := Workshop()) as (engines, _):
        await engines.load(model("a"))
        await until(engines, "a", "ready")
        workshop.made[0].may_end.clear()
        await engines.unload("a")
        await asyncio.sleep(0)

    assert not workshop.made[0].is_open


async def test_kept_prefixes_are_forgotten_by_name_or_all() -> None:
    async with opened(workshop := Workshop()) as (engines, _):
        for name in "ab":
            await engines.load(model(name))
            await until(engines, name, "ready")

        assert (engines.clear_kv("a"), engines.clear_kv()) == (["a"], ["a", "b"])
        assert [engine.cleared for engine in workshop.made] == [2, 1]
        with pytest.raises(ModelNotFound):
            engines.clear_kv("c")


def test_counts_are_added_flags_hold_for_all_and_the_worst_measure_counts() -> None:
    one = {"restarts": 1, "is_ready": True, "kv": {"hits": 2, "disk_latency_us": 5, "disk_bytes_per_s": 9}}
    two = {"restarts": 2, "is_ready": False, "kv": {"hits": 3, "disk_latency_us": 7, "disk_bytes_per_s": 4, "x": 1}}

    assert added([one, two]) == {
        "restarts": 3,
        "is_ready": False,
        "kv": {"hits": 5, "disk_latency_us": 7, "disk_bytes_per_s": 4, "x": 1},
    }
    assert added([one]) == one
    assert added([]) == {}


def test_figures_are_sorted_by_tier() -> None:
    sorted_ = by_tier({"blocks_free": 1, "ram_hit_tokens": 2, "disk_segments": 3, "redis_hits": 4, "evictions": 5})

    assert sorted_ == {
        "tiers": {"ram": {"blocks_free": 1, "hit_tokens": 2}, "disk": {"segments": 3}, "redis": {"hits": 4}},
        "counters": {"evictions": 5},
    }
