"""The gateways that the bench asks, in this process: one on a file, one without meaning, two on one Redis, one with an
engine of its own."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from fastapi import FastAPI
from safetensors.torch import load_file, save_file

from backends.local.demo import checkpoint_path
from bench.inprocess import ask, started
from bench.isolation.askers import Tenant
from bench.isolation.marking import JUDGE, MarkingBackend
from gateway.app import create_app
from gateway.body import Curfew
from gateway.services import Services, build
from gateway.settings import (
    DEMO,
    CacheSettings,
    EngineSettings,
    KeySettings,
    ModelSettings,
    RouteSettings,
    Settings,
    SharedSettings,
    TenantSettings,
)

NOWHERE = "http://127.0.0.1:9"  # so that no engine is started; nobody asks for its models
NUM_KEYS = 6
LEAST = 3  # tenants that have to ask for an answer before others get it, where tenants share
ALONE = Tenant("key 0")  # who shares with nobody there
ALONE_NAME = "a" * 32
LOCAL = (DEMO, "other")  # local models; the other one has weights of its own
ENGINE = EngineSettings(kv_mb=64)
PATIENT = SharedSettings(timeout_s=10)  # what a busy machine makes late is no other case
SEMANTIC = CacheSettings(
    embedder_timeout_s=30,
    semantic_history="loose",
    rewriter="rules",
    judge=JUDGE,
    judge_per_hour=10**6,
    memory_mb=1,
    shadow_rate=0.02,
)


@dataclass(slots=True)
class House:
    """One place where answers are kept, and the gateways that share it."""

    kind: str
    apps: Sequence[FastAPI]
    services: Sequence[Services]


@asynccontextmanager
async def house(kind: str, folder: Path, *, redis: str = "", least: int = LEAST) -> AsyncIterator[House]:
    """One gateway, or two where there is a Redis that they share; of kind `kv`, one with engines; of kind `commons`,
    one whose tenants share what `least` of them have asked."""
    secret = "the same for all that share a Redis"  # noqa: S105
    async with AsyncExitStack() as stack:
        apps, services = [], []
        for n in range(2 if redis else 1):
            settings = Settings(
                data_dir=folder / f"{kind}-{n}",
                upstream="" if kind == "kv" else NOWHERE,
                models=local_models(folder) if kind == "kv" else (),
                redis=redis,
                shared=PATIENT,
                secret=secret if redis else "",
                cache=settled(kind, least),
                keys=KeySettings(required=kind == "commons"),
                tenants=(TenantSettings(ALONE_NAME, share=False),) if kind == "commons" else (),
            )
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            one = build(settings)
            if kind != "kv":
                one.router.add(MarkingBackend(n))
            app = create_app(one, one.opened, Curfew())
            await stack.enter_async_context(started(app))
            while one.semantic is not None and one.semantic_state != "ready":
                assert one.semantic_state in ("off", "loading"), one.semantic_state
                await asyncio.sleep(0.05)
            while kind == "kv" and not (await one.readiness()).is_ready:  # noqa: ASYNC110 - it is told nobody
                await asyncio.sleep(0.1)
            apps.append(app)
            services.append(one)
        yield House(kind, apps, services)


async def give_keys(home: House) -> list[tuple[str, ...]]:
    """Have the first gateway give out keys: some alone, some two of one tenant."""
    given: list[tuple[str, ...]] = []
    for n in range(NUM_KEYS):
        own = {"tenant": ALONE_NAME} if home.kind == "commons" and n == 0 else {}
        made = (await ask(home.apps[0], "POST", "/admin/api/keys", {"name": f"k{n}", **own})).json()
        texts = [made["key"]]
        if n % 2:
            again = await ask(home.apps[0], "POST", "/admin/api/keys", {"name": f"k{n}b", "tenant": made["tenant"]})
            texts.append(again.json()["key"])
        given.append(tuple(texts))
    for one in home.services[1:]:
        await one.keys.refresh()
    return given


def local_models(folder: Path) -> tuple[ModelSettings, ...]:
    """The demo model, and one of other keys and values: what is kept for one is nothing to the other."""
    path = folder / LOCAL[1]
    if not path.exists():
        shutil.copytree(checkpoint_path(), path)
        weights = load_file(path / "model.safetensors")
        chance = torch.Generator().manual_seed(1)
        for name in weights:
            if name.endswith("input_layernorm.weight"):
                weights[name] *= 0.7 + 0.6 * torch.rand(weights[name].shape, generator=chance)
        save_file(weights, path / "model.safetensors")
    return tuple(ModelSettings(source, name, ENGINE) for source, name in zip((DEMO, str(path)), LOCAL, strict=True))


def settled(kind: str, least: int = LEAST) -> CacheSettings:
    """What the cache of a house of this kind does."""
    if kind == "commons":
        return CacheSettings(
            embedder_timeout_s=30, memory_mb=1, routes=(RouteSettings(model="?*", share_tenants=least),)
        )
    return CacheSettings(semantic=False, memory_mb=1) if kind in ("exact", "kv") else SEMANTIC
