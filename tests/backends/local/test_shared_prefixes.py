"""Engine processes with folders of their own and one Redis: what one has read, the others need not read again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from backends.chat import ChatRequest, Completion, collect
from backends.local.backend import LocalBackend
from tests.backends.local.engines import opened
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_redis]

PREFIX = "Blocks of thirty-two tokens are kept by the hash of everything before them. " * 6


@dataclass(frozen=True)
class Site:
    redis: RedisServer
    one: LocalBackend
    two: LocalBackend
    stranger: LocalBackend  # has another secret


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    async with AsyncExitStack() as stack:
        servers = serving(folder)
        redis = next(servers)
        stack.callback(next, servers, None)
        secrets = {"one": b"one", "two": b"one", "stranger": b"another"}
        opening = (
            stack.enter_async_context(
                opened(
                    checkpoints("llama"),
                    secret=secret,
                    kv_redis=redis.url,
                    kv_dir=folder / name,
                    kv_disk_bytes=32 << 20,
                )
            )
            for name, secret in secrets.items()
        )
        site = Site(redis, *await asyncio.gather(*opening))
        await answer(site.one)
        await namespaces(redis, 1)
        yield site


async def answer(engine: LocalBackend, text: str = PREFIX, salt: str = "") -> Completion:
    request = ChatRequest("tiny", ({"role": "user", "content": text},), {"max_tokens": 12}, kv_salt=salt)
    return collect([delta async for delta in engine.stream(request)])


async def namespaces(redis: RedisServer, num: int) -> None:
    """Until so many secrets have names in Redis; the test's own limit ends a wait in vain."""
    while len({str(name).split(":")[1] for name in redis.client.keys("*")}) != num:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)


async def test_an_engine_resumes_from_what_another_one_read(site: Site) -> None:
    warm = await answer(site.two)

    assert warm.usage.cached_tokens > 128
    assert warm.choices == (await answer(site.one)).choices
    kv = site.two.stats()["kv"]
    assert kv["redis_hit_tokens"] == warm.usage.cached_tokens
    assert kv["redis_bad"] == kv["redis_errors"] == 0


async def test_another_tenants_salt_finds_nothing(site: Site) -> None:
    assert (await answer(site.two, salt="of another tenant")).usage.cached_tokens == 0


async def test_an_engine_with_another_secret_finds_nothing_and_harms_nothing(site: Site) -> None:
    assert (await answer(site.stranger)).usage.cached_tokens == 0
    await namespaces(site.redis, 2)

    assert (await answer(site.two, PREFIX + "And more.")).usage.cached_tokens > 128


async def test_without_redis_everything_goes_on(site: Site) -> None:
    site.redis.kill()
    fresh = "Something that nobody has asked before now. " * 12
    first, second = await answer(site.one, fresh), await answer(site.two, fresh)

    assert first.choices == second.choices
    assert (await answer(site.one, fresh)).usage.cached_tokens > 128  # from its own memory
    kv = site.one.stats()["kv"]
    assert kv["redis_errors"] + kv["redis_late"] + kv["redis_failures"] > 0
