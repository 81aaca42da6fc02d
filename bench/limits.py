"""What limits cost: exact hits of a caller who has none beside one who has all of them, in one process and in turns.

`without a policy` is the gateway as it comes. `of another tenant` has a policy, but not of whoever asks. `all six` has
every limit there is, so each request is guessed, entered, settled and told in headers. Then the pieces alone: what a
request without limits passes by, what it takes to enter and leave, and the one call to a Redis on this machine.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from backends.chat import ChatRequest, Usage
from bench.figures import median
from bench.inprocess import ask, started
from bench.processes import upstream
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from gateway.answers.redis.connection import Link
from gateway.app import create_app
from gateway.body import Curfew
from gateway.callers.caller import Caller
from gateway.controls import Controls
from gateway.quota.gate import Quota
from gateway.quota.guess import guess_of
from gateway.quota.policies import Policies
from gateway.services import build
from gateway.settings import Limits, TenantSettings, load_settings
from gateway.shared.quota import RedisAccounts

CHAT = "/v1/chat/completions"
MESSAGE = {"role": "user", "content": "What is a block table, and what is it good for?"}
BODY = {"model": "m", "messages": [MESSAGE]}
KEY = [(b"authorization", b"Bearer sk-bench")]
PLENTY = 10**12
ALL = Limits(PLENTY, PLENTY, 10**6, PLENTY, PLENTY, 1e12)
OTHER = "0" * 32
KINDS: dict[str, tuple[TenantSettings, ...]] = {
    "without a policy": (),
    "of another tenant": (TenantSettings(OTHER, limits=ALL),),
    "all six": (TenantSettings("*", limits=ALL),),
}


def run(scale: Scale) -> list[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        backend = stack.enter_context(upstream("echo"))
        (folder / "redis").mkdir()
        url = stack.enter_context(redis_server(folder / "redis"))
        return asyncio.run(_measure(folder, backend.url, url, scale))


async def _measure(folder: Path, backend_url: str, redis_url: str, scale: Scale) -> list[Row]:
    async with AsyncExitStack() as stack:
        apps = {}
        for number, (kind, said) in enumerate(KINDS.items()):
            flags = {"upstream": backend_url, "data_dir": folder / str(number), "cache": {"semantic": False}}
            services = build(replace(load_settings(flags, environ={}), tenants=said))
            apps[kind] = create_app(services, services.opened, Curfew())
            await stack.enter_async_context(started(apps[kind]))
            assert (await ask(apps[kind], "POST", CHAT, BODY, KEY)).status == 200
        took = await _turns(apps, scale.of(3000, 20))
    bare = took["without a policy"]
    rows = [
        Row("limits", f"an exact hit, limits: {kind}", us, "us", bare, "without a policy, in turns")
        for kind, us in took.items()
    ]
    return rows + await _pieces(redis_url, scale)


async def _turns(apps: dict[str, FastAPI], rounds: int) -> dict[str, float]:
    """Microseconds of a request: the median of rounds in which each is asked in turn."""
    took: dict[str, list[float]] = {kind: [] for kind in apps}
    for number in range(rounds):
        order = list(apps) if number % 2 else list(reversed(apps))
        for kind in order:
            took[kind].append(await _each_us(partial(ask, apps[kind], "POST", CHAT, BODY, KEY), 1))
    return {kind: median(values) for kind, values in took.items()}


async def _each_us(work: Callable[[], Awaitable[object]], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        await work()
    return (time.perf_counter() - began) / times * 1e6


async def _pieces(redis_url: str, scale: Scale) -> list[Row]:
    request = ChatRequest("m", (MESSAGE,), {})
    link = Link(redis_url, b"s" * 32)
    shared = RedisAccounts(link, "bench")
    told = asyncio.create_task(shared.run())
    rounds, times = scale.of(1500, 20), 5
    found = {}
    for name, quota, said in (
        ("without limits", Quota(), ()),
        ("all six limits", Quota(), KINDS["all six"]),
        ("all six limits, shared through Redis", Quota(shared=shared), KINDS["all six"]),
    ):
        policies = Policies(said)

        async def work(quota: Quota = quota, policies: Policies = policies) -> None:
            policy = policies.of(Caller("a" * 32))
            policy.check_model("m")
            controls = policy.clamp(Controls())
            async with quota.enter(policy, lambda: guess_of(request)) as admission:
                admission.headers("openai")
                admission.check()
                admission.clamp(controls)
                admission.settle(Usage(10, 20), is_hit=True, model="m")

        found[name] = median([await _each_us(work, times) for _ in range(rounds)])
        await quota.close()
    told.cancel()
    await link.close()
    return [Row("limits", f"in and out, {name}", us, "us") for name, us in found.items()]
