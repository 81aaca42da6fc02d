"""Encryption at rest, proved: no word of what a gateway did, or does, lies in any file or value of Redis."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.answers.selection import Page, Selection
from gateway.identity.secret import SecretLocked
from tests.e2e.test_erasing import Gateway, gateway_in, places_of, until
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving
from tests.upstream import RunningUpstream

pytestmark = needs_redis

ASKED = "Where does the Quetzalfeather live?"
WORDS = (
    "Quetzalfeather",
    "marigoldsmith",
    "petulantly",
    "household",
    "lodestone",
)  # asked, system, said, tag, namespace
SYSTEM = "You are the marigoldsmith of this town, and you answer in few words. " * 30
CACHE = {"tags": ["household"], "namespace": "lodestone"}
KEY, ANOTHER = "a key that nobody finds beside the data", "another key that nobody finds there"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    yield from serving(tmp_path)


@asynccontextmanager
async def opened(folder: Path, key: str = "", **flags: Any) -> AsyncIterator[Gateway]:
    """A gateway that seals with this key; without one nothing is sealed."""
    if key:
        (folder / "key").write_text(key)
        flags["seal"] = {"key_env": f"@{folder / 'key'}"}
    async with gateway_in(folder / "data", cache={"semantic": False}, **flags) as gateway:
        yield gateway


async def work(gateway: Gateway) -> tuple[str, str]:
    """Leave words in every place that keeps any; tier and text of the answer."""
    said = await gateway.chat(ASKED, system=SYSTEM, cache=CACHE, max_tokens=100)
    verdict = {"id": said.json()["id"], "verdict": "good", "comment": "he said so petulantly"}
    await gateway.post("/v1/cache/feedback", "sk-me", verdict)
    return said.headers["x-twicetold-tier"], said.json()["choices"][0]["message"]["content"]


def found(folder: Path, server: RedisServer) -> dict[str, list[str]]:
    """The words that are anywhere, and where."""
    return {word: places for word in WORDS if (places := places_of(word, folder / "data", server))}


def has_plain_segments(folder: Path, server: RedisServer) -> bool:
    values = [raw for name in server.client.scan_iter("*:kv:*") if (raw := server.client.get(name))]
    return any(
        b'"tokens":' in raw for raw in [*values, *(path.read_bytes() for path in folder.glob("data/kv/*/*.seg"))]
    )


async def test_what_lay_in_plain_is_sealed_once_there_is_a_key_and_everything_is_found_again(
    tmp_path: Path, server: RedisServer, upstream: RunningUpstream
) -> None:
    flags: dict[str, Any] = {"upstream": upstream.base_url}
    async with opened(tmp_path, **flags) as gateway:
        first = await work(gateway)
        await until(lambda: gateway.services.answers.count(Selection(text="Quetzalfeather")))
        assert (await work(gateway))[0] == "exact"  # a verdict on what is stored
    assert set(found(tmp_path, server)) == set(WORDS)

    async with opened(tmp_path, KEY, **flags) as gateway:
        await until(lambda: not found(tmp_path, server))
        assert await work(gateway) == ("exact", first[1])
        (listed,) = await gateway.services.answers.select(Selection(text="quetzalfeather"), Page())
        assert (listed.namespace, listed.tags) == ("lodestone", ("household",))
    assert found(tmp_path, server) == {}


async def test_no_prefix_that_an_engine_keeps_lies_in_plain(tmp_path: Path, server: RedisServer) -> None:
    async with opened(tmp_path, KEY, model="demo", engine={"kv_redis": server.url}) as gateway:
        assert (await work(gateway))[0] == "full"
        await until(lambda: list(tmp_path.glob("data/kv/*/*.seg")) and list(server.client.scan_iter("*:kv:*")))
    assert found(tmp_path, server) == {}
    assert not has_plain_segments(tmp_path, server)


async def test_what_gateways_share_is_sealed_and_no_gateway_starts_under_another_key(
    tmp_path: Path, server: RedisServer, upstream: RunningUpstream
) -> None:
    flags: dict[str, Any] = {"upstream": upstream.base_url, "redis": server.url}
    async with opened(tmp_path, KEY, **flags) as gateway:
        first = await work(gateway)
        await until(lambda: gateway.services.answers.count(Selection(text="Quetzalfeather")))
        assert (await work(gateway))[0] == "exact"
        await until(lambda: list(server.client.scan_iter("*:said:*")))
        removed = await gateway.services.answers.remove_all(Selection(text="petulantly"))
        assert removed == []
        assert found(tmp_path, server) == {}
        secret = gateway.services.secret
        assert not any(secret in path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    with pytest.raises(SecretLocked, match="which is not given"):
        async with opened(tmp_path, ANOTHER, **flags):
            pass
    async with opened(tmp_path, KEY, **flags) as gateway:
        assert await work(gateway) == ("exact", first[1])


async def test_an_erasure_is_not_whole_while_something_does_not_open(tmp_path: Path, upstream: RunningUpstream) -> None:
    (tmp_path / "secret").write_text("a secret that is told to every one of the gateways")
    flags: dict[str, Any] = {"upstream": upstream.base_url, "secret_env": f"@{tmp_path / 'secret'}"}
    async with opened(tmp_path, KEY, **flags) as gateway:
        await work(gateway)
        await until(lambda: gateway.services.answers.count(Selection()))
    async with opened(tmp_path, ANOTHER, **flags) as gateway:
        done = await gateway.admin("erase", {"tag": "household", "dry_run": False})
        assert done["pending"] == ["1 answers sealed under a key that is not given"]
        assert not done["is_whole"]
    async with opened(tmp_path, KEY, **flags) as gateway:
        done = await gateway.admin("erase", {"tag": "household", "dry_run": False})
        assert (done["counts"]["answers"], done["is_whole"]) == (1, True)
