"""Keys that the gateway gives out: shown once, kept as hashes, ended at once, known to every gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.answers.redis.connection import Link
from gateway.callers.keys import FolderRack, Keys
from gateway.errors import InvalidRequest, NotAuthorised, UnknownId
from gateway.identity.scope import is_tenant, tenant_of
from gateway.settings import SettingsError, load_settings
from gateway.shared.keys import RedisRack
from tests.gateway.house import SECRET
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving


class Clock:
    def __init__(self) -> None:
        self.now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


def keys_in(folder: Path, **settings: Any) -> Keys:
    return Keys(SECRET, [FolderRack(folder / "keys")], **settings)


async def test_a_key_is_its_tenant_and_what_is_kept_opens_no_door(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    made = await keys.create("chat app")

    assert keys.tenant(made["key"]) == made["tenant"] != tenant_of(SECRET, made["key"])
    assert is_tenant(made["tenant"])
    (kept,) = (tmp_path / "keys").iterdir()
    assert made["key"] not in kept.read_text()
    assert (kept.stat().st_mode & 0o777, (tmp_path / "keys").stat().st_mode & 0o777) == (0o600, 0o700)
    (shown,) = keys.listing()
    assert "key" not in shown
    assert "hash" not in shown
    with pytest.raises(NotAuthorised, match="not known"):
        keys.tenant(made["key"][:-1] + ("A" if made["key"][-1] != "A" else "B"))


async def test_a_revoked_key_and_one_that_is_over_are_refused_after_a_restart_too(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_in(tmp_path, now=clock)
    short, gone = await keys.create("short", expires_in_s=10.0), await keys.create("gone")
    assert keys.tenant(short["key"]) == short["tenant"]
    clock.now_s += 11
    await keys.revoke(gone["id"])
    again = keys_in(tmp_path, now=clock)
    await again.open()

    for opened in (keys, again):
        with pytest.raises(NotAuthorised, match="revoked"):
            opened.tenant(gone["key"])
        with pytest.raises(NotAuthorised, match="expired"):
            opened.tenant(short["key"])
    assert {one["name"]: one["state"] for one in again.listing()} == {"short": "expired", "gone": "revoked"}


async def test_a_rotated_key_goes_on_for_its_grace_and_the_tenant_stays(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_in(tmp_path, now=clock)
    old = await keys.create("app")
    new = await keys.rotate(old["id"], grace_s=60.0)

    assert keys.tenant(old["key"]) == keys.tenant(new["key"]) == old["tenant"]
    clock.now_s += 61
    assert keys.tenant(new["key"]) == old["tenant"]
    with pytest.raises(NotAuthorised):
        keys.tenant(old["key"])
    with pytest.raises(InvalidRequest, match="revoked"):
        await keys.rotate(old["id"])
    with pytest.raises(UnknownId):
        await keys.revoke("key_000000000000")


async def test_without_keys_any_credential_is_a_tenant_and_required_keys_refuse_them(tmp_path: Path) -> None:
    open_, closed = keys_in(tmp_path), keys_in(tmp_path, is_required=True)
    made = await closed.create("app", tenant="a" * 32)
    await open_.refresh()

    assert (open_.tenant(None), open_.tenant("sk-any")) == ("anonymous", tenant_of(SECRET, "sk-any"))
    assert closed.tenant(made["key"]) == open_.tenant(made["key"]) == "a" * 32
    for credential in (None, "", "sk-any"):
        with pytest.raises(NotAuthorised):
            closed.tenant(credential)
    assert closed.caller("") == "anonymous"  # an operator's word for nobody


def test_required_keys_let_a_server_be_reached_from_elsewhere() -> None:
    with pytest.raises(SettingsError, match=r"keys\.required"):
        load_settings({"host": "192.0.2.1"}, environ={})

    assert load_settings({"host": "192.0.2.1"}, environ={"TWICETOLD_KEYS__REQUIRED": "true"}).keys.required


@needs_redis
async def test_gateways_on_one_redis_know_each_others_keys_and_lose_none_with_it(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    link = Link(redis_server.url, SECRET, timeout_s=10)
    one, two = (Keys(SECRET, [FolderRack(tmp_path / name), RedisRack(link)]) for name in "ab")
    made = await one.create("app")
    await two.refresh()
    assert two.tenant(made["key"]) == made["tenant"]

    await two.revoke(made["id"])
    await one.refresh()
    with pytest.raises(NotAuthorised):
        one.tenant(made["key"])

    redis_server.client.flushall()
    await one.refresh()
    fresh = Keys(SECRET, [FolderRack(tmp_path / "c"), RedisRack(link)])
    await fresh.open()
    assert [shown["state"] for shown in fresh.listing()] == ["revoked"]

    name = link.name("keys")
    redis_server.client.hset(name, "key_" + "0" * 12, b"x" * 16 + b"{}")  # planted
    redis_server.client.hincrby(name, "changes", 1)
    await fresh.refresh()
    assert len(fresh.listing()) == 1
    await link.close()
