"""Keys that the gateway gives out: shown once, kept as hashes, ended at once, known to every gateway."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.answers.redis.connection import Link
from gateway.callers.caller import SCOPES
from gateway.callers.keys import Keys, Wish
from gateway.callers.racks import FolderRack
from gateway.callers.records import Record, read_record
from gateway.errors import InvalidRequest, NotAuthorised, ScopeLacking, StoreAway, UnknownId
from gateway.identity.scope import is_tenant, tenant_of
from gateway.settings import SettingsError, load_settings
from gateway.shared.racks import RedisKeys
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


def keys_of(folder: Path) -> Keys:
    return Keys(SECRET, [FolderRack(folder)])


async def test_a_key_is_its_tenant_and_what_is_kept_opens_no_door(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    made = await keys.create(Wish("chat app"))

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
    short, gone = await keys.create(Wish("short", expires_in_s=10.0)), await keys.create(Wish("gone"))
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


async def test_a_key_that_was_ended_while_a_clock_was_ahead_stays_ended_when_it_is_right(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_in(tmp_path, now=clock)
    revoked, rotated, forgotten = [await keys.create(Wish(name)) for name in ("a", "b", "c")]
    clock.now_s += 86_400
    await keys.revoke(revoked["id"])
    await keys.rotate(rotated["id"])
    await keys.forget(forgotten["tenant"])
    clock.now_s -= 86_400
    again = keys_in(tmp_path, now=clock)
    await again.open()

    for opened in (keys, again):
        for made in (revoked, rotated, forgotten):
            with pytest.raises(NotAuthorised, match="revoked"):
                opened.tenant(made["key"])
    assert all("is_over" not in one for one in again.listing())


async def test_a_rotated_key_goes_on_for_its_grace_and_the_tenant_stays(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_in(tmp_path, now=clock)
    old = await keys.create(Wish("app"))
    new = await keys.rotate(old["id"], grace_s=60.0)

    with pytest.raises(InvalidRequest, match="rotate its successor"):  # a new key would end with the grace
        await keys.rotate(old["id"])
    assert keys.tenant(old["key"]) == keys.tenant(new["key"]) == old["tenant"]
    clock.now_s += 61
    assert keys.tenant(new["key"]) == old["tenant"]
    with pytest.raises(NotAuthorised):
        keys.tenant(old["key"])
    with pytest.raises(InvalidRequest, match="revoked"):
        await keys.rotate(old["id"])
    with pytest.raises(UnknownId):
        await keys.revoke("key_000000000000")


async def test_lives_and_graces_that_are_none_are_refused(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    made = await keys.create(Wish("app", expires_in_s=1e10))
    for life_s in (0.0, -1.0, 1.1e10, float("inf"), float("nan")):
        with pytest.raises(InvalidRequest, match="expires_in_s"):
            await keys.create(Wish("app", expires_in_s=life_s))
    for grace_s in (-1.0, 1.1e10, float("nan")):
        with pytest.raises(InvalidRequest, match="grace_s"):
            await keys.rotate(made["id"], grace_s)
    assert len(keys.listing()) == 1


async def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = keys_in(tmp_path)
    made = await keys.create(Wish("app"))
    broken = tmp_path / "keys" / f"{made['id']}.json"
    broken.write_text("{")

    await keys_in(tmp_path).open()
    assert f"records of keys cannot be read: {broken}; if no newer version wrote them, delete them" in caplog.text


async def test_without_keys_any_credential_is_a_tenant_and_required_keys_refuse_them(tmp_path: Path) -> None:
    open_, closed = keys_in(tmp_path), keys_in(tmp_path, is_required=True)
    made = await closed.create(Wish("app", tenant="a" * 32))
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


class Fragile(FolderRack):
    """A folder that can be away, and is looked at only when somebody wrote there."""

    is_away = False
    is_quiet = False

    async def changed(self) -> bool:
        self._check()
        return not self.is_quiet and await super().changed()

    async def save(self, record: Record) -> None:
        self._check()
        await super().save(record)

    def _check(self) -> None:
        if self.is_away:
            raise StoreAway("away")


class Slow(FolderRack):
    """A folder that holds one save until it may go."""

    held_after = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_held, self.go = asyncio.Event(), asyncio.Event()

    async def save(self, record: Record) -> None:
        self.held_after -= 1
        if self.held_after == 0:
            self.is_held.set()
            await self.go.wait()
        await super().save(record)


async def test_a_revocation_that_is_heard_of_is_kept_in_every_rack_that_can_be_reached(tmp_path: Path) -> None:
    here, gone, shared = (Fragile(tmp_path / name) for name in ("here", "gone", "shared"))
    keys, other = Keys(SECRET, [here, gone, shared]), Keys(SECRET, [FolderRack(tmp_path / "shared")])
    made = await keys.create(Wish("app"))
    await other.open()
    await keys.refresh()
    here.is_quiet = gone.is_away = True
    await other.revoke(made["id"])
    with pytest.raises(StoreAway):
        await keys.refresh()

    again = keys_of(tmp_path / "here")  # a restart while what is shared is away
    await again.open()
    with pytest.raises(NotAuthorised, match="revoked"):
        again.tenant(made["key"])
    gone.is_away, gone.is_quiet, shared.is_quiet = False, True, True
    await keys.refresh()
    late = keys_of(tmp_path / "gone")
    await late.open()
    with pytest.raises(NotAuthorised, match="revoked"):
        late.tenant(made["key"])


async def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await keys_in(tmp_path).create(Wish("app"))
    (tmp_path / "keys").rename(tmp_path / "away")
    (tmp_path / "keys").touch()  # cannot be read, for root, too
    keys = keys_in(tmp_path)
    await keys.open()

    assert "cannot be read" in caplog.text
    with pytest.raises(NotAuthorised):
        keys.tenant(made["key"])
    (tmp_path / "keys").unlink()
    (tmp_path / "away").rename(tmp_path / "keys")
    await keys.refresh()
    assert keys.tenant(made["key"]) == made["tenant"]


async def test_a_revocation_while_a_key_is_rotated_or_ended_stays(tmp_path: Path) -> None:
    rack, clock = Slow(tmp_path / "keys"), Clock()
    keys = Keys(SECRET, [rack], now=clock)
    for saves in (1, 2):  # while the new key is kept, while the end of the old one is
        made = await keys.create(Wish("app"))
        rack.held_after = saves
        rotating = asyncio.create_task(keys.rotate(made["id"], grace_s=3600.0))
        await rack.is_held.wait()
        revoking = asyncio.create_task(keys.revoke(made["id"]))
        await asyncio.sleep(0.05)
        rack.go.set()
        await asyncio.gather(rotating, revoking, return_exceptions=True)
        again = Keys(SECRET, [FolderRack(tmp_path / "keys")], now=clock)
        await again.open()
        for known in (keys, again):
            with pytest.raises(NotAuthorised, match="revoked"):
                known.tenant(made["key"])
        rack.is_held.clear()
        rack.go.clear()


async def test_a_rotation_of_a_key_that_is_revoked_meanwhile_leaves_no_successor(tmp_path: Path) -> None:
    other = Slow(tmp_path / "other")
    keys = Keys(SECRET, [FolderRack(tmp_path / "keys"), other])
    made = await keys.create(Wish("app"))
    other.held_after = 1
    rotating = asyncio.create_task(keys.rotate(made["id"], grace_s=3600.0))
    await other.is_held.wait()
    revoking = asyncio.create_task(keys.revoke(made["id"]))
    await asyncio.sleep(0.05)
    other.go.set()
    with pytest.raises(InvalidRequest, match="meanwhile"):
        await rotating
    await revoking
    assert {one["state"] for one in keys.listing()} == {"revoked"}


@needs_redis
async def test_gateways_on_one_redis_know_each_others_keys_and_lose_none_with_it(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    link = Link(redis_server.url, SECRET, timeout_s=10)
    one, two = (Keys(SECRET, [FolderRack(tmp_path / name), RedisKeys(link)]) for name in "ab")
    made = await one.create(Wish("app"))
    await two.refresh()
    assert two.tenant(made["key"]) == made["tenant"]

    await two.revoke(made["id"])
    await one.refresh()
    with pytest.raises(NotAuthorised):
        one.tenant(made["key"])

    redis_server.client.flushall()
    await one.refresh()
    fresh = Keys(SECRET, [FolderRack(tmp_path / "c"), RedisKeys(link)])
    await fresh.open()
    assert [shown["state"] for shown in fresh.listing()] == ["revoked"]

    name = link.name("keys")
    redis_server.client.hset(name, "key_" + "0" * 12, b"x" * 16 + b"{}")  # planted
    redis_server.client.hincrby(name, "changes", 1)
    await fresh.refresh()
    assert len(fresh.listing()) == 1
    await link.close()


async def test_a_key_opens_what_its_scopes_name_and_says_which_it_lacks(tmp_path: Path) -> None:
    keys = keys_in(tmp_path)
    plain = await keys.create(Wish("app"))
    reader = await keys.create(Wish("dashboards", scopes=["admin:read"]))
    writer = await keys.rotate((await keys.create(Wish("deploy", scopes=["admin:write", "chat"])))["id"])

    may = [[scope for scope in SCOPES if keys.identify(one["key"]).may(scope)] for one in (plain, reader, writer)]
    assert may == [["chat", "feedback"], ["admin:read"], ["chat", "admin:read", "admin:write"]]
    with pytest.raises(ScopeLacking, match="'feedback'"):
        keys.identify(writer["key"]).need("feedback")
    with pytest.raises(InvalidRequest, match="scopes must be"):
        await keys.create(Wish("all", scopes=["*"]))


async def test_a_listing_tells_keys_apart_by_how_they_begin_and_when_they_were_used(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_in(tmp_path, now=clock)
    made, idle = await keys.create(Wish("app")), await keys.create(Wish("idle"))
    keys.identify(made["key"])
    await keys.close()
    again = keys_in(tmp_path)
    await again.open()

    told = {one["name"]: (one["prefix"], one["last_used_s"]) for one in again.listing()}
    assert told == {"app": (made["key"][:11], clock.now_s), "idle": (idle["key"][:11], None)}


async def test_a_forgotten_tenants_keys_end_lose_their_names_and_stay_so(tmp_path: Path) -> None:
    here, there = keys_in(tmp_path / "a"), keys_in(tmp_path / "b")
    made, other = await here.create(Wish("Ann Example", tenant="a" * 32)), await here.create(Wish("app"))
    path = tmp_path / "a" / "keys" / f"{made['id']}.json"
    older = path.read_bytes()

    assert await here.forget("a" * 32) == 1
    assert "Ann" not in path.read_text()
    (tmp_path / "b" / "keys").mkdir(parents=True)
    (tmp_path / "b" / "keys" / path.name).write_bytes(older)
    await there.open()
    shared = Keys(SECRET, [FolderRack(tmp_path / "a" / "keys"), FolderRack(tmp_path / "b" / "keys")])
    await shared.open()
    with pytest.raises(NotAuthorised):
        shared.identify(made["key"])
    assert shared.identify(other["key"]).tenant == other["tenant"]
    await shared.refresh()
    kept = [tmp_path / place / "keys" / path.name for place in "ab"]
    assert all("Ann" not in one.read_text() for one in kept)


@pytest.mark.parametrize(
    "change",
    [{"scopes": ["root"]}, {"scopes": "chat"}, {"scopes": None}, {"wall": "b"}, {"tenant": 1}, {"ends_s": "never"},
     {"ends_s": True}, {"is_over": 1}, {"name": None}, {"created_s": []}, {"policy": []}, {"prefix": "x"},
     {"id": "../key"}],
    ids=str,
)  # fmt: skip
async def test_a_record_that_is_not_whole_opens_no_door(tmp_path: Path, change: dict[str, Any]) -> None:
    keys = keys_in(tmp_path)
    made = await keys.create(Wish("app"))
    path = tmp_path / "keys" / f"{made['id']}.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **change}))
    again = keys_in(tmp_path)
    await again.open()

    assert again.listing() == []
    with pytest.raises(NotAuthorised):
        again.identify(made["key"])


def test_a_record_of_before_there_were_scopes_is_a_callers() -> None:
    old = {"id": "key_" + "0" * 12, "name": "n", "tenant": "a" * 32, "hash": "b" * 64, "created_s": 1.0}

    record = read_record(orjson.dumps(old))

    assert record is not None
    assert record.scopes == ("chat", "feedback")
